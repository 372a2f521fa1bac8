/* Which of the sequences that wait on the device for their next turn goes when room is needed: a
 * pure function.
 *
 *   1. one that waited for a tool longer than was to be expected (daemon/tool_pauses.h), the one
 *      whose time was over first
 *   2. one of a user with more than an equal share of the places
 *   3. one that waits for a person: of such nobody knows when they come back. The oldest first
 *   4. one that waits for a tool: the one that is expected last
 *
 * Nothing goes before room is needed: its time over, a sequence has no claim, but it is there. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct retained {
        uint32_t uid;
        uint64_t until_ns; /* the tool is expected until then; 0: it waits for no tool */
};

/* `retained`: oldest first. The number of the one that goes, never `except`; SIZE_MAX: there is
 * none. */
size_t retention_choose(const struct retained *retained, size_t n, size_t except, uint64_t now_ns);
