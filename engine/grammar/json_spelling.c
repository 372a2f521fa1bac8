#include "engine/grammar/json_spelling.h"

#include <stdlib.h>
#include <string.h>

char *json_spell(json_t *scalar, size_t *ret_n) {
        char *text = NULL;
        if (json_is_real(scalar)) {
                /* 17 digits tell all doubles apart; most need fewer. */
                for (size_t digits = 15; digits <= 17; digits++) {
                        free(text);
                        text = json_dumps(scalar, JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
                        double value = json_real_value(scalar);
                        double read = text ? strtod(text, NULL) : value;
                        if (!(read < value) && !(read > value))
                                break;
                }
        } else {
                text = json_dumps(scalar, JSON_ENCODE_ANY | JSON_COMPACT);
        }
        *ret_n = text ? strlen(text) : 0;
        return text;
}

char *json_spell_string(const char *string, size_t *ret_n) {
        json_t *json = json_string(string);
        char *text = json ? json_spell(json, ret_n) : NULL;
        json_decref(json);
        return text;
}
