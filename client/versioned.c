#include "client/client.h"

#include <string.h>

static size_t size_of(const void *versioned) {
        size_t size;
        memcpy(&size, versioned, sizeof(size));
        return size;
}

int versioned_read(void *ours, size_t our_bytes, const void *theirs, size_t bytes_min) {
        size_t size = size_of(theirs);
        if (size < bytes_min)
                return SEEKD_E_INVALID;
        /* A program built against a later header may run, as long as it leaves the new fields at
         * their default. */
        for (size_t i = our_bytes; i < size; i++) {
                if (((const uint8_t *)theirs)[i] != 0)
                        return SEEKD_E_INVALID;
        }
        memset(ours, 0, our_bytes);
        memcpy(ours, theirs, size < our_bytes ? size : our_bytes);
        return 0;
}

int versioned_write(void *theirs, const void *ours, size_t our_bytes, size_t bytes_min) {
        size_t size = size_of(theirs);
        if (size < bytes_min)
                return SEEKD_E_INVALID;
        memcpy(theirs, ours, size < our_bytes ? size : our_bytes);
        memcpy(theirs, &size, sizeof(size));
        return 0;
}
