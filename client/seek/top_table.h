/* Columns of text, with a space between them, as many as a terminal has room for. Pure. */
#pragma once

#include <stdbool.h>

struct top_column {
        const char *title;
        int width;
        bool left; /* names begin at the left and are cut; numbers end at the right and are not */
};

#define TOP_TABLE_COLUMNS_MAX 16
#define TOP_CELL_BYTES        64
/* All columns' cells in one line. */
#define TOP_ROW_BYTES (TOP_TABLE_COLUMNS_MAX * (TOP_CELL_BYTES + 1))

struct top_table {
        const struct top_column *columns;
        int n;                  /* at most TOP_TABLE_COLUMNS_MAX */
        const int *dispensable; /* what a narrow terminal goes without, first to last */
        int n_dispensable;
        /* Set by top_table_fit(). */
        int width[TOP_TABLE_COLUMNS_MAX]; /* 0: not shown */
};

/* `wide`: a column that takes the room that is left, up to so many characters. */
void top_table_fit(struct top_table *table, int columns, int wide, int wide_max);

/* Appends the next column's cell to the row; does nothing where it is not shown. */
void top_table_cell(const struct top_table *table, int column, const char *cell,
                    char row[TOP_ROW_BYTES]);
