#include "engine/text_class.h"

#include <stdlib.h>
#include <string.h>

struct class_range {
        uint32_t first, last, class;
};

#include "engine/text_class_ranges.h"

uint8_t *text_classes_new(void) {
        uint8_t *classes = calloc(CHARACTERS, 1);
        for (size_t i = 0; classes && i < sizeof(ranges) / sizeof(*ranges); i++)
                memset(classes + ranges[i].first, (int)ranges[i].class,
                       ranges[i].last - ranges[i].first + 1);
        return classes;
}
