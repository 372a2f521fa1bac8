/* Statistics of kept KV and Engram rows, for people and for programs. */
#include <stdio.h>

#include "client/seek/seek.h"

const char *bytes_text(uint64_t bytes, char ret[BYTES_TEXT]) {
        static const char units[] = "KMGTPE";
        double value = (double)bytes;
        int unit = -1;
        while (value >= 1024 && units[unit + 1] != 0) {
                value /= 1024;
                unit++;
        }
        if (unit < 0)
                snprintf(ret, BYTES_TEXT, "%llu B", (unsigned long long)bytes);
        else
                snprintf(ret, BYTES_TEXT, "%.1f %ciB", value, units[unit]);
        return ret;
}

static double share(uint64_t part, uint64_t whole) {
        return whole > 0 ? 100 * (double)part / (double)whole : 0;
}

static void print_disk(const struct seekd_kv_stats *kv) {
        char bytes[BYTES_TEXT], max[BYTES_TEXT], day[BYTES_TEXT], day_max[BYTES_TEXT];
        if (!kv->on_disk) {
                puts("  disk:   nothing is kept there");
                return;
        }
        printf("  disk:   %s of %s, %llu pages, %llu states, %llu sessions; index read in %.0f "
               "ms\n",
               bytes_text(kv->disk_bytes, bytes), bytes_text(kv->disk_bytes_max, max),
               (unsigned long long)kv->disk_pages, (unsigned long long)kv->disk_states,
               (unsigned long long)kv->disk_sessions, kv->load_ms);
        printf("  today:  %s written of %s\n", bytes_text(kv->day_bytes, day),
               kv->day_bytes_max > 0 ? bytes_text(kv->day_bytes_max, day_max) : "any number");
        if (kv->suspended[0])
                printf("  NOTHING IS STORED: %s\n", kv->suspended);
        if (kv->moved_aside)
                puts("  kv.mdb was damaged at start, moved to kv.mdb.damaged; an empty one was "
                     "begun");
        if (kv->quarantined > 0)
                printf("  %llu damaged values were found and forgotten\n",
                       (unsigned long long)kv->quarantined);
}

void print_kv_stats(const struct seekd_kv_stats *kv) {
        char bytes[BYTES_TEXT], max[BYTES_TEXT], limit[BYTES_TEXT], parked[BYTES_TEXT];
        printf("kept KV:  %.1f %% of %llu prompt tokens reused; by tier: device %llu, memory %llu, "
               "disk %llu, none %llu\n",
               share(kv->reused_tokens, kv->asked_tokens), (unsigned long long)kv->asked_tokens,
               (unsigned long long)kv->device_hits, (unsigned long long)kv->host_hits,
               (unsigned long long)kv->disk_hits, (unsigned long long)kv->misses);
        printf("  device: %s of %s, at most %s so far; %u turns parked (%s)\n",
               bytes_text(kv->device_bytes, bytes),
               kv->device_bytes_limit > 0 ? bytes_text(kv->device_bytes_limit, limit)
                                          : "any number",
               bytes_text(kv->device_bytes_max, max), kv->parked,
               bytes_text(kv->parked_bytes, parked));
        printf("  memory: %s of %s, %llu evicted\n", bytes_text(kv->host_bytes, bytes),
               bytes_text(kv->host_bytes_max, max), (unsigned long long)kv->evicted);
        print_disk(kv);
}

void print_engram_stats(const struct seekd_engram_stats *engram) {
        printf("Engram:   %llu rows; %.1f %% from the cache, %.1f %% resident, %.1f %% read; steps "
               "waited %.0f ms\n",
               (unsigned long long)engram->rows_requested,
               share(engram->rows_cached, engram->rows_requested),
               share(engram->rows_resident, engram->rows_requested),
               share(engram->rows_read, engram->rows_requested), engram->late_ms);
}

static void set(json_t *object, const char *key, uint64_t value) {
        json_object_set_new(object, key, json_integer((json_int_t)value));
}

static json_t *device_json(const struct seekd_kv_stats *kv) {
        json_t *o = json_object();
        set(o, "bytes", kv->device_bytes);
        set(o, "bytes_max", kv->device_bytes_max);
        set(o, "bytes_limit", kv->device_bytes_limit);
        set(o, "parked", kv->parked);
        set(o, "parked_bytes", kv->parked_bytes);
        set(o, "spills", kv->spills);
        set(o, "rows_gathered", kv->rows_gathered);
        set(o, "rows_missed", kv->rows_missed);
        set(o, "gave_way", kv->gave_way);
        set(o, "hits", kv->device_hits);
        return o;
}

static json_t *host_json(const struct seekd_kv_stats *kv) {
        json_t *o = json_object();
        set(o, "bytes", kv->host_bytes);
        set(o, "bytes_max", kv->host_bytes_max);
        set(o, "evicted", kv->evicted);
        set(o, "thinned", kv->thinned);
        set(o, "refused", kv->refused);
        set(o, "hits", kv->host_hits);
        return o;
}

static json_t *disk_json(const struct seekd_kv_stats *kv) {
        if (!kv->on_disk)
                return json_null();
        json_t *o = json_object();
        set(o, "bytes", kv->disk_bytes);
        set(o, "bytes_max", kv->disk_bytes_max);
        set(o, "file_bytes", kv->disk_file_bytes);
        set(o, "pages", kv->disk_pages);
        set(o, "states", kv->disk_states);
        set(o, "sessions", kv->disk_sessions);
        set(o, "written_bytes", kv->disk_written_bytes);
        set(o, "read_bytes", kv->disk_read_bytes);
        set(o, "day_bytes", kv->day_bytes);
        set(o, "day_bytes_max", kv->day_bytes_max);
        set(o, "deleted", kv->deleted);
        set(o, "quarantined", kv->quarantined);
        set(o, "failed_reads", kv->failed_reads);
        set(o, "hits", kv->disk_hits);
        json_object_set_new(o, "load_ms", json_real(kv->load_ms));
        json_object_set_new(o, "moved_aside", json_boolean(kv->moved_aside));
        json_object_set_new(o, "suspended",
                            kv->suspended[0] ? json_string(kv->suspended) : json_null());
        return o;
}

json_t *kv_stats_json(const struct seekd_kv_stats *kv) {
        if (!kv)
                return json_null();
        json_t *o = json_pack("{s:o, s:o, s:o}", "device", device_json(kv), "host", host_json(kv),
                              "disk", disk_json(kv));
        set(o, "misses", kv->misses);
        set(o, "asked_tokens", kv->asked_tokens);
        set(o, "reused_tokens", kv->reused_tokens);
        return o;
}

void print_hint_stats(const struct seekd_hint_stats *hints) {
        printf("hints:    %llu noted, %llu done, %llu replaced, %llu dropped; %llu tokens\n",
               (unsigned long long)hints->noted, (unsigned long long)hints->done,
               (unsigned long long)hints->replaced, (unsigned long long)hints->dropped,
               (unsigned long long)hints->tokens);
}

json_t *hint_stats_json(const struct seekd_hint_stats *hints) {
        if (!hints)
                return json_null();
        json_t *o = json_object();
        set(o, "noted", hints->noted);
        set(o, "done", hints->done);
        set(o, "replaced", hints->replaced);
        set(o, "dropped", hints->dropped);
        set(o, "tokens", hints->tokens);
        set(o, "waiting", hints->waiting);
        return o;
}

json_t *engram_stats_json(const struct seekd_engram_stats *engram) {
        if (!engram)
                return json_null();
        json_t *o = json_object();
        set(o, "rows_requested", engram->rows_requested);
        set(o, "rows_cached", engram->rows_cached);
        set(o, "rows_resident", engram->rows_resident);
        set(o, "rows_read", engram->rows_read);
        set(o, "rows_prefetched", engram->rows_prefetched);
        set(o, "rows_damaged", engram->rows_damaged);
        set(o, "late", engram->late);
        json_object_set_new(o, "late_ms", json_real(engram->late_ms));
        return o;
}
