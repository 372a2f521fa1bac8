/* Asks the question given on the command line; reasoning goes to standard error, the answer to
 * standard output: cc chat.c $(pkg-config --cflags --libs libseekd) */
#include <seekd.h>
#include <stdio.h>

static int print_piece(void *userdata, const struct seekd_piece *piece) {
        (void)userdata;
        FILE *out = piece->channel == SEEKD_CHANNEL_TEXT ? stdout : stderr;
        fwrite(piece->text, 1, piece->text_bytes, out);
        return fflush(out);
}

int main(int argc, char **argv) {
        struct seekd_client *client;
        char error[SEEKD_ERROR_BYTES];
        if (seekd_connect(NULL, &client, error, sizeof(error)) < 0)
                return fprintf(stderr, "%s\n", error), 1;

        struct seekd_message question = SEEKD_MESSAGE_INIT;
        question.role = "user";
        question.content = argc > 1 ? argv[1] : "What is a ring buffer?";
        question.content_bytes = SEEKD_ZERO_TERMINATED;
        const struct seekd_message *messages[] = { &question };
        struct seekd_chat chat = SEEKD_CHAT_INIT;
        chat.messages = messages;
        chat.n_messages = 1;
        chat.thinking = 1;

        struct seekd_params params = SEEKD_PARAMS_INIT;
        params.chat = &chat;
        params.max_tokens = 256;
        int code = seekd_complete(client, &params, print_piece, NULL, NULL);
        if (code < 0)
                fprintf(stderr, "%s\n", seekd_last_error(client));
        seekd_disconnect(client);
        return code < 0;
}
