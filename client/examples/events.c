/* Completes several texts at once in a poll loop, the way an editor would: the descriptor of the
 * client is one among the others of the program. */
#include <poll.h>
#include <seekd.h>
#include <stdio.h>
#include <string.h>

struct job {
        const char *prompt;
        char text[2048];
        size_t n;
        int *n_running;
};

static int keep_piece(void *userdata, const struct seekd_piece *piece) {
        struct job *job = userdata;
        if (piece->text_bytes > sizeof(job->text) - job->n)
                return 1; /* enough: cancels the request */
        memcpy(job->text + job->n, piece->text, piece->text_bytes);
        job->n += piece->text_bytes;
        return 0;
}

static void job_done(void *userdata, struct seekd_request *request,
                     const struct seekd_result *result) {
        struct job *job = userdata;
        if (result->code < 0)
                printf("--- %s\nfailed: %s\n", job->prompt, result->error);
        else
                printf("--- %s\n%.*s\n", job->prompt, (int)job->n, job->text);
        seekd_request_free(request);
        (*job->n_running)--;
}

int main(void) {
        struct seekd_client *client;
        char error[SEEKD_ERROR_BYTES];
        if (seekd_connect(NULL, &client, error, sizeof(error)) < 0)
                return fprintf(stderr, "%s\n", error), 1;

        int n_running = 0;
        struct job jobs[] = { { .prompt = "int main(" },
                              { .prompt = "static void " },
                              { .prompt = "#include <" } };
        for (size_t i = 0; i < sizeof(jobs) / sizeof(jobs[0]); i++) {
                struct seekd_params params = SEEKD_PARAMS_INIT;
                params.prompt = jobs[i].prompt;
                params.prompt_bytes = SEEKD_ZERO_TERMINATED;
                params.max_tokens = 32;
                params.service = SEEKD_CLASS_INTERACTIVE;
                jobs[i].n_running = &n_running;
                struct seekd_request *request;
                if (seekd_submit(client, &params, keep_piece, job_done, &jobs[i], &request) < 0)
                        fprintf(stderr, "%s\n", seekd_last_error(client));
                else
                        n_running++;
        }

        int code = 0;
        while (n_running > 0 && code >= 0) {
                struct pollfd fds[] = { { seekd_fd(client), (short)seekd_events(client), 0 } };
                poll(fds, 1, -1);
                code = seekd_dispatch(client, 0);
        }
        if (code < 0)
                fprintf(stderr, "%s\n", seekd_last_error(client));
        seekd_disconnect(client);
        return code < 0;
}
