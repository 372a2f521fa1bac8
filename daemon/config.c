#include "daemon/config.h"

#include <errno.h>
#include <ini.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "base/error.h"
#include "daemon/limits.h"

struct choice {
        const char *name;
        int value;
};

static const struct choice backends[] = { { "auto", BACKEND_AUTO },
                                          { "cpu", BACKEND_CPU },
                                          { "reference", BACKEND_REFERENCE },
                                          { NULL, 0 } };

static const struct choice computes[] = { { "bf16", COMPUTE_BF16 },
                                          { "f32", COMPUTE_F32 },
                                          { NULL, 0 } };

static const struct choice log_levels[] = {
        { "error", LOG_ERR }, { "warning", LOG_WARNING }, { "notice", LOG_NOTICE },
        { "info", LOG_INFO }, { "debug", LOG_DEBUG },     { NULL, 0 },
};

static const struct choice imports[] = { { "auto", ENGRAM_IMPORT_AUTO },
                                         { "never", ENGRAM_IMPORT_NEVER },
                                         { NULL, 0 } };

enum kind { KIND_STRING, KIND_UNSIGNED, KIND_SIZE, KIND_CHOICE };

struct key {
        const char *section, *name;
        enum kind kind;
        size_t offset, bytes;
        unsigned min, max;
        const struct choice *choices;
};

#define FIELD(member) offsetof(struct config, member), sizeof(((struct config *)NULL)->member)

static const struct key keys[] = {
        { "model", "path", KIND_STRING, FIELD(model_dir), 0, 0, NULL },
        { "engine", "backend", KIND_CHOICE, FIELD(backend), 0, 0, backends },
        { "engine", "compute", KIND_CHOICE, FIELD(compute), 0, 0, computes },
        /* 1,024: more than any machine's CPUs that one socket pair has; bounds the thread pool. */
        { "engine", "threads", KIND_UNSIGNED, FIELD(n_threads), 0, 1024, NULL },
        { "engine", "running", KIND_UNSIGNED, FIELD(n_running_max), 1, RUNNING_MAX, NULL },
        { "engine", "prefill_budget_ms", KIND_UNSIGNED, FIELD(prefill_budget_ms), 1,
          PREFILL_BUDGET_MS_MAX, NULL },
        { "memory", "device_kv", KIND_SIZE, FIELD(device_kv), 0, 0, NULL },
        { "memory", "hot_rows", KIND_UNSIGNED, FIELD(hot_rows), 1, HOT_ROWS_MAX, NULL },
        { "memory", "host_kv", KIND_SIZE, FIELD(host_kv), 0, 0, NULL },
        { "memory", "disk_kv", KIND_SIZE, FIELD(disk_kv), 0, 0, NULL },
        { "memory", "user_kv", KIND_UNSIGNED, FIELD(user_kv), 1, 100, NULL },
        { "memory", "disk_writes_per_day", KIND_SIZE, FIELD(disk_writes_per_day), 0, 0, NULL },
        { "engram", "import", KIND_CHOICE, FIELD(engram_import), 0, 0, imports },
        /* 2^31 rows are 567 GB of the released ones: more than the table has. */
        { "engram", "cache_rows", KIND_UNSIGNED, FIELD(engram_cache_rows), 0, 1U << 31, NULL },
        { "server", "socket", KIND_STRING, FIELD(socket_path), 0, 0, NULL },
        { "server", "state", KIND_STRING, FIELD(state_dir), 0, 0, NULL },
        { "server", "connections_per_uid", KIND_UNSIGNED, FIELD(n_connections_per_uid_max), 1,
          CONNECTIONS_MAX, NULL },
        { "server", "drain_timeout_s", KIND_UNSIGNED, FIELD(drain_timeout_s), 0,
          DRAIN_TIMEOUT_S_MAX, NULL },
        { "server", "log_level", KIND_CHOICE, FIELD(log_level), 0, 0, log_levels },
};

static int set_string(char *field, const struct key *key, const char *value, struct error *err) {
        size_t n = strlen(value);
        if (n >= key->bytes)
                return error_set(err, -EINVAL, "%s: %zu bytes are too long, at most %zu", key->name,
                                 n, key->bytes - 1);
        memcpy(field, value, n + 1);
        return 0;
}

static int set_unsigned(unsigned *field, const struct key *key, const char *value,
                        struct error *err) {
        char *end;
        errno = 0;
        unsigned long n = strtoul(value, &end, 10);
        if (*value < '0' || *value > '9' || *end != '\0' || errno || n < key->min || n > key->max)
                return error_set(err, -EINVAL, "%s: '%.60s' is not a number from %u to %u",
                                 key->name, value, key->min, key->max);
        *field = (unsigned)n;
        return 0;
}

/* "0", "512M", "16G": bytes with an optional unit of 1,024. */
static int set_size(uint64_t *field, const struct key *key, const char *value, struct error *err) {
        static const char units[] = "KMGT";
        char *end;
        errno = 0;
        unsigned long long n = strtoull(value, &end, 10);
        const char *unit = *end ? strchr(units, *end) : NULL;
        unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
        if (*value < '0' || *value > '9' || errno || (*end && (!unit || end[1])) ||
            n > (UINT64_MAX >> 1) >> shift)
                return error_set(err, -EINVAL, "%s: '%.60s' is not a size such as 0, 512M or 16G",
                                 key->name, value);
        *field = (uint64_t)n << shift;
        return 0;
}

static int set_choice(int *field, const struct key *key, const char *value, struct error *err) {
        char names[128] = "";
        for (const struct choice *c = key->choices; c->name; c++) {
                if (strcmp(c->name, value) == 0) {
                        *field = c->value;
                        return 0;
                }
                size_t n = strlen(names);
                snprintf(names + n, sizeof(names) - n, "%s%s", n > 0 ? ", " : "", c->name);
        }
        if (key->choices == backends && strcmp(value, "cuda") == 0)
                return error_set(err, -EINVAL, "backend: built without CUDA, legal here: %s",
                                 names);
        return error_set(err, -EINVAL, "%s: '%.60s' is not one of: %s", key->name, value, names);
}

int config_set(struct config *config, const char *section, const char *name, const char *value,
               struct error *err) {
        for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
                const struct key *key = &keys[i];
                if (strcmp(key->section, section) != 0 || strcmp(key->name, name) != 0)
                        continue;
                void *field = (uint8_t *)config + key->offset;
                if (key->kind == KIND_STRING)
                        return set_string(field, key, value, err);
                if (key->kind == KIND_UNSIGNED)
                        return set_unsigned(field, key, value, err);
                if (key->kind == KIND_SIZE)
                        return set_size(field, key, value, err);
                return set_choice(field, key, value, err);
        }
        return error_set(err, -ENOENT, "unknown key '%.60s' in section [%.60s]", name, section);
}

_Static_assert(sizeof(enum backend_kind) == sizeof(int) && sizeof(enum compute) == sizeof(int) &&
                       sizeof(enum engram_import) == sizeof(int),
               "choices are stored through an int pointer");

/* inih tells its callback no line number, so we count where it reads. */
struct reader {
        struct config *config;
        FILE *file;
        const char *path;
        struct error *err;
        int line;
        int code; /* of the first mistake */
};

/* inih's fgets: one line per call, at most `bytes` - 1 (200 in the distributions' builds). */
static char *read_line(char *buffer, int bytes, void *userdata) {
        struct reader *reader = userdata;
        if (reader->code != 0 || !fgets(buffer, bytes, reader->file))
                return NULL;
        reader->line++;
        size_t n = strlen(buffer);
        if (n + 1 == (size_t)bytes && buffer[n - 1] != '\n') {
                reader->code = error_set(reader->err, -EINVAL, "%s:%d: longer than %d bytes",
                                         reader->path, reader->line, bytes - 2);
                return NULL;
        }
        return buffer;
}

static int set_key(void *userdata, const char *section, const char *name, const char *value) {
        struct reader *reader = userdata;
        if (reader->code != 0)
                return 0;
        if (config_set(reader->config, section, name, value, reader->err) == 0)
                return 1;
        error_prefix(reader->err, "%s:%d", reader->path, reader->line);
        reader->code = -EINVAL;
        return 0;
}

int config_read(struct config *config, const char *path, struct error *err) {
        FILE *file = fopen(path, "re");
        if (!file)
                return error_errno(err, "%s", path);
        struct reader reader = { config, file, path, err, 0, 0 };
        int line = ini_parse_stream(read_line, &reader, set_key, &reader);
        int failed = ferror(file);
        fclose(file);
        if (reader.code != 0)
                return reader.code;
        if (line < 0 || failed)
                return error_set(err, line == -2 ? -ENOMEM : -EIO, "%s: cannot be read", path);
        if (line > 0)
                return error_set(err, -EINVAL, "%s:%d: neither a [section] nor a key = value", path,
                                 line);
        return 0;
}

int config_init(struct config *ret, struct error *err) {
        struct config config = {
                .model_dir = SEEKD_MODEL_DIR,
                .backend = BACKEND_AUTO,
                .compute = COMPUTE_BF16,
                .n_running_max = RUNNING_DEFAULT,
                .prefill_budget_ms = PREFILL_BUDGET_MS_DEFAULT,
                .device_kv = DEVICE_KV_DEFAULT,
                .hot_rows = HOT_ROWS_DEFAULT,
                .host_kv = HOST_KV_DEFAULT,
                .disk_kv = DISK_KV_DEFAULT,
                .user_kv = USER_KV_DEFAULT,
                .disk_writes_per_day = DISK_WRITES_PER_DAY_DEFAULT,
                .engram_import = ENGRAM_IMPORT_AUTO,
                .engram_cache_rows = ENGRAM_CACHE_ROWS_DEFAULT,
                .n_connections_per_uid_max = CONNECTIONS_PER_UID_DEFAULT,
                .drain_timeout_s = DRAIN_TIMEOUT_S_DEFAULT,
                .log_level = LOG_INFO,
        };

        const char *runtime = getenv("XDG_RUNTIME_DIR");
        const char *base = geteuid() != 0 && runtime && runtime[0] == '/' ? runtime : "/run";
        int n = snprintf(config.socket_path, sizeof(config.socket_path), "%s/seekd/seekd.sock",
                         base);
        if (n < 0 || (size_t)n >= sizeof(config.socket_path))
                return error_set(err, -ENAMETOOLONG,
                                 "$XDG_RUNTIME_DIR: '%.80s' is too long for a socket path", base);

        const char *state = getenv(
                "STATE_DIRECTORY"); /* systemd: one absolute path per StateDirectory= entry */
        if (state) {
                n = snprintf(config.state_dir, sizeof(config.state_dir), "%s", state);
                if (n < 0 || (size_t)n >= sizeof(config.state_dir))
                        return error_set(err, -ENAMETOOLONG, "$STATE_DIRECTORY: too long");
        }
        *ret = config;
        return 0;
}

const char *config_backend_name(enum backend_kind backend) {
        for (const struct choice *c = backends; c->name; c++)
                if (c->value == (int)backend)
                        return c->name;
        return "?";
}
