/* Two turns in one session; its id is printed, so that it can be continued tomorrow:
 * cc session.c $(pkg-config --cflags --libs libseekd) */
#include <seekd.h>
#include <stdio.h>

static int print_piece(void *userdata, const struct seekd_piece *piece) {
        (void)userdata;
        fwrite(piece->text, 1, piece->text_bytes, stdout);
        return fflush(stdout);
}

static int take_turn(struct seekd_client *client, uint64_t session, const char *text) {
        struct seekd_params params = SEEKD_PARAMS_INIT;
        params.session = session;
        params.prompt = text; /* behind what is there already */
        params.prompt_bytes = SEEKD_ZERO_TERMINATED;
        params.max_tokens = 32;
        fputs(text, stdout);
        return seekd_complete(client, &params, print_piece, NULL, NULL);
}

int main(void) {
        struct seekd_client *client;
        char error[SEEKD_ERROR_BYTES];
        if (seekd_connect(NULL, &client, error, sizeof(error)) < 0)
                return fprintf(stderr, "%s\n", error), 1;

        uint64_t session = 0, tokens = 0;
        int code = seekd_session_open(client, NULL, &session);
        if (code == 0)
                code = take_turn(client, session, "int main(");
        if (code == 0)
                code = take_turn(client, session, "\n\nstatic int next(");
        if (code == 0)
                code = seekd_session_attach(client, session, &tokens);
        if (code == 0)
                printf("\nsession %016llx has %llu tokens\n", (unsigned long long)session,
                       (unsigned long long)tokens);
        else
                fprintf(stderr, "%s\n", seekd_last_error(client));
        seekd_disconnect(client);
        return code < 0;
}
