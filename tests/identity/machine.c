#include "tests/identity/machine.h"

#include <errno.h>

#include "base/error.h"
#include "daemon/engram.h"
#include "daemon/keeper.h"
#include "tests/identity/reference.h"

/* Few, so that most rows are read from the file. */
#define ENGRAM_CACHE_ROWS 1000

/* The end of the prompt, the page before it, the end of the turn. */
#define STATES_PER_LIFE 3

static uint64_t life_bytes(const struct engine *engine) {
        return CONVERSATION_TOKENS_MAX / ENGINE_PAGE_TOKENS * engine_page_bytes(engine) +
                STATES_PER_LIFE * engine_state_bytes(engine);
}

uint64_t machine_device_bytes_min(const struct engine *engine) {
        uint64_t resident = engine_kv_bytes(engine, CONVERSATION_TOKENS_MAX, false);
        uint64_t spilled = engine_kv_bytes(engine, CONVERSATION_TOKENS_MAX, true);
        return spilled < resident ? spilled : resident;
}

static int open_engine(const struct machine_options *options, struct machine *machine,
                       struct error *err) {
        struct engram_options engram_options = { .state_dir = options->state_dir,
                                                 .cache_rows = ENGRAM_CACHE_ROWS };
        if (engram_new(&engram_options, &machine->engram) < 0)
                return error_set(err, -ENOMEM, "out of memory");
        struct engram_rows rows = engram_rows(machine->engram);
        struct engine_options engine_options = {
                .model_dir = options->model_dir,
                .n_threads = options->n_threads,
                .batch_rows_max = options->rows,
                .device_kv_bytes = options->device_kv_bytes,
                .hot_rows = 1,
                .engram_rows = &rows,
        };
        return engine_open(&engine_options, &machine->engine, err);
}

int machine_open_keeper(const struct machine_options *options, struct machine *machine,
                        struct error *err) {
        struct keeper_options keeper_options = {
                .model_dir = options->model_dir,
                .state_dir = options->state_dir,
                .host_bytes = options->host_lives * life_bytes(machine->engine),
                .disk_bytes = options->disk_lives * life_bytes(machine->engine),
                .parked_bytes = options->parks ? UINT64_MAX : 0,
                .notify = options->notify,
                .context = options->context,
        };
        return keeper_open(&keeper_options, machine->engine, &machine->keeper, err);
}

int machine_open(const struct machine_options *options, struct machine *ret, struct error *err) {
        *ret = (struct machine){ 0 };
        int r = open_engine(options, ret, err);
        if (r == 0)
                r = machine_open_keeper(options, ret, err);
        if (r < 0)
                machine_close(ret);
        return r;
}

void machine_close(struct machine *machine) {
        keeper_close(machine->keeper);
        if (machine->engine)
                engine_close(machine->engine);
        engram_free(machine->engram);
        *machine = (struct machine){ 0 };
}
