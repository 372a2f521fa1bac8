/* chat_lines DIR                 answers each line of standard input, a JSON question (chat_json.h)
 * chat_lines DIR CASES.json      checks an array of {"question", "answer"}
 *
 * DIR holds a tokenizer.json. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/chat/chat_tokens.h"
#include "engine/tokenizer.h"
#include "tests/engine/chat_json.h"

static int answer_lines(const struct chat_tokens *tokens) {
        char *line = NULL;
        size_t capacity = 0;
        while (getline(&line, &capacity, stdin) > 0) {
                json_t *question = json_loads(line, JSON_ALLOW_NUL, NULL);
                json_t *answer = question ? chat_answer(tokens, question)
                                          : json_pack("{s:s}", "error", "not JSON");
                json_dumpf(answer, stdout, JSON_COMPACT);
                putchar('\n');
                fflush(stdout);
                json_decref(answer);
                json_decref(question);
        }
        free(line);
        return 0;
}

static int check_cases(const struct chat_tokens *tokens, const char *path) {
        json_error_t at;
        json_t *cases = json_load_file(path, JSON_ALLOW_NUL, &at);
        if (!json_is_array(cases)) {
                fprintf(stderr, "%s: %s\n", path, at.text);
                return 1;
        }
        size_t n_wrong = 0;
        for (size_t i = 0; i < json_array_size(cases); i++) {
                const json_t *one = json_array_get(cases, i);
                json_t *answer = chat_answer(tokens, json_object_get(one, "question"));
                if (!json_equal(answer, json_object_get(one, "answer"))) {
                        char *text = json_dumps(answer, JSON_COMPACT);
                        fprintf(stderr, "%s[%zu]: %s\n", path, i, text);
                        free(text);
                        n_wrong++;
                }
                json_decref(answer);
        }
        printf("%zu cases, %zu wrong\n", json_array_size(cases), n_wrong);
        size_t n = json_array_size(cases);
        json_decref(cases);
        return n_wrong > 0 || n == 0 ? 1 : 0;
}

int main(int argc, char **argv) {
        struct error err = { 0 };
        struct tokenizer *tokenizer = NULL;
        struct chat_tokens tokens;
        if (argc < 2 || tokenizer_open(argv[1], &tokenizer, &err) < 0 ||
            chat_tokens_find(tokenizer, &tokens, &err) < 0) {
                fprintf(stderr, "chat_lines: %s\n", argc < 2 ? "no folder" : err.text);
                return 1;
        }
        int r = argc > 2 ? check_cases(&tokens, argv[2]) : answer_lines(&tokens);
        tokenizer_close(tokenizer);
        return r;
}
