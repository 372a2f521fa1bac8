/* Generations of many clients through one runner, with real rings and whatever engine there is. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/runner.h"
#include "proto/seekd.pb-c.h"
#include "tests/daemon/ring_client.h"

struct engine;
struct keeper;

#define CLIENTS_MAX 8

struct world {
        struct engine *engine;
        struct runner runner;
        struct client clients[CLIENTS_MAX];
        bool one_session; /* what is queued comes from one, else each client has its own */
};

/* A runner over this engine, no clients. `world` is zeroed; engine and keeper are borrowed. */
void world_init(struct world *world, struct engine *engine, struct keeper *keeper,
                const struct memory_plan *plan);
void world_deinit(struct world *world);

/* The tokens of a prompt: BOS and some more, by `seed`. */
uint32_t prompt_id(uint32_t seed, uint32_t i);

/* Queues a generation of n_max tokens after a prompt; generate(): a turn. */
void generate_as(struct world *world, struct client *client, Seekd__V1__Class class, uint32_t seed,
                 uint32_t n_prompt, uint32_t n_max);
void generate(struct world *world, struct client *client, uint32_t seed, uint32_t n_prompt,
              uint32_t n_max);

/* Turns until nothing is left to do; the first n_clients read. */
void run_until_idle(struct world *world, size_t n_clients);
