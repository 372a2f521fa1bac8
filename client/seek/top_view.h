/* What `seek top` shows, as lines of text: for the terminal and for --once alike. No I/O. */
#pragma once

#include <stdbool.h>

#include "client/seek/top_model.h"

/* Wider terminals than any; a frame's lines are cut here. */
#define TOP_COLUMNS_MAX 512

enum top_style { TOP_PLAIN, TOP_STRONG, TOP_HEADING };

struct top_view {
        int columns; /* 1 to TOP_COLUMNS_MAX */
        int lines;
        enum top_order order;
        bool grouped;
        bool paused;
        bool help;
        bool keys; /* the last line says what keys do */
        double interval_s;
        int first; /* line of the table that is shown first; drawing brings it into range */
        int page;  /* set by drawing: lines of the table that are visible */
};

/* `text`: printable ASCII, at most `columns` long, valid during the call. `line`: from 0. */
typedef void (*top_line_fn)(void *userdata, int line, const char *text, enum top_style style);

/* Calls back for each line from the top; lines that are not named are empty. `model` is sorted as
 * the view says. */
void top_draw(struct top_view *view, const struct top_model *model, top_line_fn put,
              void *userdata);
