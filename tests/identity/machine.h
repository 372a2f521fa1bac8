/* A model with all that keeps its work: the daemon's engine thread without its clients. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"

struct engram;
struct error;
struct keeper;

struct machine_options {
        const char *model_dir, *state_dir;
        unsigned n_threads;
        unsigned rows;                 /* of one step */
        uint64_t device_kv_bytes;      /* 0 = no bound; hot pools have the smallest legal size */
        bool parks;                    /* sequences stay on the device after their turn */
        unsigned host_lives;           /* memory and disk for kept KV, in conversations of */
        unsigned disk_lives;           /* CONVERSATION_TOKENS_MAX tokens with a few states each */
        void (*notify)(void *context); /* a request may be ready; any thread */
        void *context;
};

struct machine {
        struct engram *engram;
        struct engine *engine;
        struct keeper *keeper;
};

/* The smallest device pool with which one conversation of CONVERSATION_TOKENS_MAX tokens fits. Of
 * an engine that was opened with hot_rows = 1, which is raised to the model's top-k. */
uint64_t machine_device_bytes_min(const struct engine *engine);

int machine_open(const struct machine_options *options, struct machine *ret, struct error *err);

/* machine_open() with the engine that is there already; the keeper is closed. */
int machine_open_keeper(const struct machine_options *options, struct machine *machine,
                        struct error *err);
void machine_close(struct machine *machine);
