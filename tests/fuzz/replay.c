/* Runs a fuzz target once on every file of the folders named on the command line, in the order of
 * their names. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static int replay_file(const char *path) {
        struct error err;
        struct file_map map;
        if (file_map_open(path, &map, &err) < 0) {
                fprintf(stderr, "%s\n", err.text);
                return -1;
        }
        /* An exact copy on the heap: a sanitizer sees one byte too many, which it would not in a
         * mapped page. */
        uint8_t *copy = malloc(map.bytes > 0 ? map.bytes : 1);
        if (!copy)
                return -1;
        if (map.bytes > 0)
                memcpy(copy, map.data, map.bytes);
        LLVMFuzzerTestOneInput(copy, map.bytes);
        free(copy);
        file_map_close(&map);
        return 0;
}

int main(int argc, char **argv) {
        unsigned n = 0;
        for (int i = 1; i < argc; i++) {
                struct dirent **entries;
                int n_entries = scandir(argv[i], &entries, NULL, alphasort);
                if (n_entries < 0) {
                        perror(argv[i]);
                        return 1;
                }
                for (int k = 0; k < n_entries; k++) {
                        char path[4096];
                        snprintf(path, sizeof(path), "%s/%s", argv[i], entries[k]->d_name);
                        if (entries[k]->d_name[0] != '.') {
                                if (replay_file(path) < 0)
                                        return 1;
                                n++;
                        }
                        free(entries[k]);
                }
                free(entries);
        }
        printf("%u inputs\n", n);
        return n > 0 ? 0 : 1; /* an empty corpus tests nothing */
}
