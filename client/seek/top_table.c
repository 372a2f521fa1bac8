#include "client/seek/top_table.h"

#include <stdio.h>
#include <string.h>

void top_table_fit(struct top_table *table, int columns, int wide, int wide_max) {
        int used = table->n - 1;
        for (int i = 0; i < table->n; i++) {
                table->width[i] = table->columns[i].width;
                used += table->width[i];
        }
        for (int i = 0; used > columns && i < table->n_dispensable; i++) {
                int column = table->dispensable[i];
                used -= table->width[column] + 1;
                table->width[column] = 0;
        }
        int room = columns - used;
        if (room <= 0 || table->width[wide] == 0)
                return;
        int width = table->width[wide] + room;
        table->width[wide] = width < wide_max ? width : wide_max;
}

void top_table_cell(const struct top_table *table, int column, const char *cell,
                    char row[TOP_ROW_BYTES]) {
        size_t n = strlen(row);
        int width = table->width[column];
        const char *between = n > 0 ? " " : "";
        if (width == 0)
                return;
        if (table->columns[column].left)
                snprintf(row + n, TOP_ROW_BYTES - n, "%s%-*.*s", between, width, width, cell);
        else
                snprintf(row + n, TOP_ROW_BYTES - n, "%s%*s", between, width, cell);
}
