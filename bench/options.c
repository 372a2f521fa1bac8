#include "bench/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define HELP "help"

/* "--name WHAT" */
static int spell(const struct option_rule *rule, char *ret, size_t size) {
        return snprintf(ret, size, "--%s%s%s", rule->name, rule->what ? " " : "",
                        rule->what ? rule->what : "");
}

static void print_rule(const struct option_rule *rule, int width) {
        char name[64];
        spell(rule, name, sizeof(name));
        printf("  %-*s  ", width, name);
        for (const char *c = rule->help; *c; c++) {
                putchar(*c);
                if (*c == '\n')
                        printf("%*s", width + 4, "");
        }
        putchar('\n');
}

static void print_usage(const struct command_line *line) {
        int width = 0;
        printf("usage: seekd-bench %s", line->command);
        for (size_t i = 0; i < line->n_rules; i++) {
                char name[64];
                int n = spell(&line->rules[i], name, sizeof(name));
                width = n > width ? n : width;
                if (line->rules[i].required)
                        printf(" %s", name);
        }
        printf(" [options]\n\n%s\n\n", line->summary);
        for (size_t i = 0; i < line->n_rules; i++)
                print_rule(&line->rules[i], width);
}

static int find_name(const struct option_rule *rule, const char *name, size_t n) {
        for (int i = 0; rule->names[i]; i++)
                if (strlen(rule->names[i]) == n && memcmp(rule->names[i], name, n) == 0)
                        return i;
        return -ENOENT;
}

static int take_set(const struct command_line *line, const struct option_rule *rule,
                    const char *value) {
        unsigned set = 0;
        for (const char *at = value;; at++) {
                size_t n = strcspn(at, ",");
                int i = find_name(rule, at, n);
                if (i < 0) {
                        fprintf(stderr, "seekd-bench %s: --%s: '%.*s' is none of", line->command,
                                rule->name, (int)n, at);
                        for (int k = 0; rule->names[k]; k++)
                                fprintf(stderr, " %s", rule->names[k]);
                        fputc('\n', stderr);
                        return -EINVAL;
                }
                set |= 1U << i;
                at += n;
                if (*at == '\0')
                        break;
        }
        *rule->set = set;
        return 0;
}

static int take(const struct command_line *line, const struct option_rule *rule,
                const char *value) {
        if (rule->flag)
                *rule->flag = true;
        if (rule->text)
                *rule->text = value;
        if (rule->set)
                return take_set(line, rule, value);
        if (!rule->number)
                return 0;
        char *end;
        errno = 0;
        unsigned long n = strtoul(value, &end, 10);
        if (errno || end == value || *end || value[0] == '-' || n < rule->min || n > rule->max) {
                fprintf(stderr, "seekd-bench %s: --%s: '%s' is not a number from %u to %u\n",
                        line->command, rule->name, value, rule->min, rule->max);
                return -EINVAL;
        }
        *rule->number = (unsigned)n;
        return 0;
}

/* What getopt_long() reads: the rules by number, help, the end. */
static struct option *getopt_table(const struct command_line *line) {
        struct option *table = calloc(line->n_rules + 2, sizeof(*table));
        if (!table) {
                fprintf(stderr, "seekd-bench: out of memory\n");
                exit(1);
        }
        for (size_t i = 0; i < line->n_rules; i++)
                table[i] = (struct option){ line->rules[i].name,
                                            line->rules[i].flag ? no_argument : required_argument,
                                            NULL, (int)i };
        table[line->n_rules] = (struct option){ HELP, no_argument, NULL, (int)line->n_rules };
        return table;
}

int options_parse(const struct command_line *line, int argc, char **argv) {
        CLEANUP_FREE struct option *table = getopt_table(line);
        CLEANUP_FREE bool *given = calloc(line->n_rules + 1, sizeof(*given));
        int number, r = given ? 0 : -ENOMEM;
        while (r == 0 && (number = getopt_long(argc, argv, "", table, NULL)) != -1) {
                if (number == '?') {
                        r = -EINVAL;
                } else if ((size_t)number == line->n_rules) {
                        print_usage(line);
                        exit(0);
                } else {
                        given[number] = true;
                        r = take(line, &line->rules[number], optarg);
                }
        }
        for (size_t i = 0; r == 0 && i < line->n_rules; i++)
                if (line->rules[i].required && !given[i]) {
                        fprintf(stderr, "seekd-bench %s: --%s is missing\n", line->command,
                                line->rules[i].name);
                        r = -EINVAL;
                }
        if (r == 0 && optind < argc) {
                fprintf(stderr, "seekd-bench %s: '%s' is not an option\n", line->command,
                        argv[optind]);
                r = -EINVAL;
        }
        if (r < 0)
                fprintf(stderr, "seekd-bench %s --help lists the options\n", line->command);
        return r;
}
