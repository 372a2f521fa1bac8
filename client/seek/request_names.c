/* What a request is called by: its phase, its class, its end, its user. */
#include <pwd.h>
#include <stdio.h>

#include "client/seek/seek.h"

const char *phase_name(int phase) {
        static const char *const names[] = { "submitted", "queued",   "prefill", "decode",
                                             "paused",    "finished", "working" };
        return phase >= 0 && phase < (int)(sizeof(names) / sizeof(names[0])) ? names[phase]
                                                                             : "unknown";
}

const char *class_name(int service) {
        static const char *const names[] = { "turn", "interactive", "turn", "agent", "background" };
        return service >= 0 && service < (int)(sizeof(names) / sizeof(names[0])) ? names[service]
                                                                                 : "unknown";
}

const char *finish_name(int finish) {
        static const char *const names[] = { "none",     "eos",       "stop",      "length",
                                             "context",  "cancelled", "deadline",  "slow_consumer",
                                             "shutdown", "error",     "tool_calls" };
        return finish >= 0 && finish < (int)(sizeof(names) / sizeof(names[0])) ? names[finish]
                                                                               : "unknown";
}

const char *user_text(uint32_t uid, char ret[USER_TEXT]) {
        struct passwd entry, *found = NULL;
        char buffer[4096];
        if (getpwuid_r(uid, &entry, buffer, sizeof(buffer), &found) == 0 && found)
                snprintf(ret, USER_TEXT, "%s", entry.pw_name);
        else
                snprintf(ret, USER_TEXT, "%u", uid);
        return ret;
}
