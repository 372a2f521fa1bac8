/* Configuration: defaults, then the file, then the command line. Immutable once the threads run. */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/engram.h"
#include "engine/engine.h"

struct error;

#define CONFIG_PATH_DEFAULT "/etc/seekd/seekd.conf"

/* sockaddr_un.sun_path has 108 bytes, the last one 0. */
#define SOCKET_PATH_BYTES 108

struct config {
        char model_dir[PATH_MAX];
        char socket_path[SOCKET_PATH_BYTES];
        char state_dir[PATH_MAX]; /* "" = keep nothing */
        enum backend_kind backend;
        enum compute compute;
        unsigned n_threads; /* 0 = one per online CPU */
        unsigned n_running_max;
        unsigned prefill_budget_ms; /* of one step */
        uint64_t device_kv;         /* bytes for KV on the device; 0 = no bound */
        unsigned hot_rows;
        uint64_t host_kv, disk_kv;        /* bytes for kept KV; 0 = none */
        unsigned user_kv;                 /* percent of these for one user */
        uint64_t disk_writes_per_day;     /* bytes; 0 = no limit */
        enum engram_import engram_import; /* auto or never */
        unsigned engram_cache_rows;
        unsigned n_connections_per_uid_max;
        unsigned drain_timeout_s;
        int log_level; /* LOG_ERR ... LOG_DEBUG */
};

/* Defaults, from the environment where systemd or the session sets it ($STATE_DIRECTORY,
 * $XDG_RUNTIME_DIR). */
int config_init(struct config *ret, struct error *err);

/* Reads an INI file over what is there. A missing file is -ENOENT. Errors name file, line and key.
 * On failure `config` may hold part of the file. */
int config_read(struct config *config, const char *path, struct error *err);

/* One setting by section and key, as in the file: shared by the file and the command line. -ENOENT:
 * no such key, -EINVAL: bad value (the message names the legal ones). */
int config_set(struct config *config, const char *section, const char *key, const char *value,
               struct error *err);

const char *config_backend_name(enum backend_kind backend);
