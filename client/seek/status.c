#include <stdio.h>

#include "client/seek/seek.h"

static json_t *clients_json(const struct seekd_stats *stats) {
        json_t *array = json_array();
        for (size_t i = 0; i < stats->n_clients; i++) {
                const struct seekd_client_stats *client = stats->clients[i];
                json_array_append_new(array,
                                      json_pack("{s:I, s:I, s:I, s:I, s:I}", "connection",
                                                (json_int_t)client->connection, "pid",
                                                (json_int_t)client->pid, "uid",
                                                (json_int_t)client->uid, "running",
                                                (json_int_t)client->running, "queued",
                                                (json_int_t)client->queued));
        }
        return array;
}

static json_t *requests_json(const struct seekd_stats *stats) {
        json_t *array = json_array();
        for (size_t i = 0; i < stats->n_requests; i++) {
                const struct seekd_request_stats *request = stats->requests[i];
                json_array_append_new(
                        array,
                        json_pack("{s:I, s:I, s:I, s:I, s:s, s:s, s:I, s:I, s:I, s:f}",
                                  "connection", (json_int_t)request->connection, "request_id",
                                  (json_int_t)request->request_id, "pid", (json_int_t)request->pid,
                                  "slot", (json_int_t)request->slot, "phase",
                                  phase_name(request->phase), "class", class_name(request->service),
                                  "prompt_tokens", (json_int_t)request->prompt_tokens,
                                  "prompt_done", (json_int_t)request->prompt_done,
                                  "generated_tokens", (json_int_t)request->generated_tokens,
                                  "age_ms", request->age_ms));
        }
        return array;
}

static json_t *model_json(const struct seekd_model_info *info) {
        return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:b, s:I}", "name", info->name,
                         "architecture", info->architecture, "vocab_size",
                         (json_int_t)info->vocab_size, "context_tokens",
                         (json_int_t)info->context_tokens, "bos_token", (json_int_t)info->bos_token,
                         "eos_token", (json_int_t)info->eos_token, "fim", info->fim, "weight_bytes",
                         (json_int_t)info->weight_bytes);
}

static json_t *totals_json(const struct seekd_stats *stats) {
        return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "requests_done",
                         (json_int_t)stats->requests_done, "requests_refused",
                         (json_int_t)stats->requests_refused, "requests_cancelled",
                         (json_int_t)stats->requests_cancelled, "prompt_tokens",
                         (json_int_t)stats->prompt_tokens, "generated_tokens",
                         (json_int_t)stats->generated_tokens, "steps", (json_int_t)stats->steps);
}

json_t *status_json(const struct seekd_stats *stats, const struct seekd_model_info *info,
                    int load_permille) {
        json_t *now =
                json_pack("{s:I, s:I, s:I, s:I}", "connections", (json_int_t)stats->connections,
                          "running", (json_int_t)stats->running, "queued",
                          (json_int_t)stats->queued, "kv_bytes", (json_int_t)stats->kv_bytes);
        return json_pack("{s:s, s:s, s:f, s:b, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
                         "version", stats->version, "backend", stats->backend, "uptime_ms",
                         stats->uptime_ms, "model_ready", stats->model_ready, "load_permille",
                         load_permille, "model", info ? model_json(info) : json_null(), "now", now,
                         "totals", totals_json(stats), "clients", clients_json(stats), "requests",
                         requests_json(stats), "classes", class_stats_json(stats), "kv",
                         kv_stats_json(stats->kv), "engram", engram_stats_json(stats->engram),
                         "hints", hint_stats_json(stats->hints));
}

static void print_requests(const struct seekd_stats *stats) {
        if (stats->n_requests == 0)
                return;
        printf("\n%8s %8s  %-9s %-11s %15s %9s %8s\n", "pid", "request", "phase", "class",
               "prompt tokens", "generated", "age");
        for (size_t i = 0; i < stats->n_requests; i++) {
                const struct seekd_request_stats *request = stats->requests[i];
                char prompt[32];
                snprintf(prompt, sizeof(prompt), "%u of %u", request->prompt_done,
                         request->prompt_tokens);
                printf("%8u %8u  %-9s %-11s %15s %9u %6.1f s\n", request->pid, request->request_id,
                       phase_name(request->phase), class_name(request->service), prompt,
                       request->generated_tokens, request->age_ms / 1000);
        }
}

static int print_status(const struct seekd_stats *stats, const struct seekd_model_info *info,
                        int load_permille) {
        printf("seekd %s, up %.0f s\n", stats->version, stats->uptime_ms / 1000);
        if (info)
                printf("model:    %s (%s) on %s, context %u tokens, weights %.1f MiB%s\n",
                       info->name, info->architecture, info->backend, info->context_tokens,
                       (double)info->weight_bytes / 1048576,
                       info->fim ? ", fills in the middle" : "");
        else if (load_permille < 0)
                puts("model:    failed to load; the daemon's log says why");
        else
                printf("model:    loading, %d %%\n", load_permille / 10);
        printf("now:      %u connections, %u running, %u queued, %.1f MiB of KV\n",
               stats->connections, stats->running, stats->queued,
               (double)stats->kv_bytes / 1048576);
        printf("so far:   %llu requests done, %llu cancelled, %llu refused; %llu prompt and %llu "
               "generated tokens\n",
               (unsigned long long)stats->requests_done,
               (unsigned long long)stats->requests_cancelled,
               (unsigned long long)stats->requests_refused,
               (unsigned long long)stats->prompt_tokens,
               (unsigned long long)stats->generated_tokens);
        print_class_stats(stats);
        if (stats->kv)
                print_kv_stats(stats->kv);
        if (stats->engram)
                print_engram_stats(stats->engram);
        if (stats->hints && stats->hints->noted > 0)
                print_hint_stats(stats->hints);
        print_requests(stats);
        return fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED;
}

static int ask_and_print(struct seekd_client *client, bool json) {
        struct seekd_stats *stats = NULL;
        int code = seekd_stats(client, &stats);
        if (code < 0)
                return report_failure(code, seekd_last_error(client), json);
        /* A daemon whose model is not there yet still has a status. */
        struct seekd_model_info info = SEEKD_MODEL_INFO_INIT;
        bool known = stats->model_ready && seekd_model_info(client, &info) == 0;
        int load_permille = stats->model_ready ? 1000 : seekd_load_permille(client);
        int exit_code = json ? print_json(status_json(stats, known ? &info : NULL, load_permille))
                             : print_status(stats, known ? &info : NULL, load_permille);
        seekd_free(stats);
        return exit_code;
}

static int run(int argc, char **argv, const struct command *command) {
        return run_without_arguments(argc, argv, command, ask_and_print);
}

const struct command command_status = {
        .name = "status",
        .summary = "what the daemon is doing",
        .help = "usage: seek status [OPTION...]\n\n"
                "Prints the model, totals, what is kept in which tier, and the running requests "
                "of\nyour user (root: of all).\n\n"
                "  --json             print one JSON object\n"
                "  --socket PATH      where the daemon listens\n"
                "  --help             this text\n",
        .run = run,
};
