/* Completes the text given on the command line: cc complete.c $(pkg-config --cflags --libs
 * libseekd) */
#include <seekd.h>
#include <stdio.h>

static int print_piece(void *userdata, const struct seekd_piece *piece) {
        fwrite(piece->text, 1, piece->text_bytes, userdata);
        return fflush(userdata);
}

int main(int argc, char **argv) {
        struct seekd_client *client;
        char error[SEEKD_ERROR_BYTES];
        if (seekd_connect(NULL, &client, error, sizeof(error)) < 0)
                return fprintf(stderr, "%s\n", error), 1;
        struct seekd_params params = SEEKD_PARAMS_INIT;
        params.prompt = argc > 1 ? argv[1] : "int main(";
        params.prompt_bytes = SEEKD_ZERO_TERMINATED;
        params.max_tokens = 64;
        int code = seekd_complete(client, &params, print_piece, stdout, NULL);
        if (code < 0)
                fprintf(stderr, "%s\n", seekd_last_error(client));
        seekd_disconnect(client);
        return code < 0;
}
