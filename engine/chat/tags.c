#include "engine/chat/tags.h"

#include <string.h>

bool symbol_is_space(symbol s) {
        return s == ' ' || s == '\n' || s == '\r' || s == '\t';
}

/* Compares a word with the symbols: true when it is there, or is there as far as the symbols go.
 * *at moves behind what is there. */
static bool read_word(const symbol *symbols, size_t n, size_t *at, const char *word) {
        size_t i = *at;
        while (*word && i < n && symbols[i] == (uint8_t)*word) {
                i++;
                word++;
        }
        if (*word && i < n)
                return false;
        *at = i;
        return true;
}

struct tag_name {
        const char *word;
        unsigned open, close; /* sets of tags */
};

static const struct tag_name tag_names[] = {
        { "calls", TAG_CALLS, TAG_CALLS_END },
        { "tool_calls", TAG_CALLS, TAG_CALLS_END },
        { "function_calls", TAG_CALLS, TAG_CALLS_END },
        { "invoke", TAG_INVOKE, TAG_INVOKE_END },
        { "parameter", TAG_STRING | TAG_JSON, TAG_PARAMETER_END },
};

/* Behind the name of an invoke or a parameter: its attributes. */
static struct tag_match read_attributes(const symbol *symbols, size_t n, size_t at,
                                        unsigned wanted) {
        static const struct {
                const char *word;
                unsigned tag;
        } ends[] = {
                { "\">", TAG_INVOKE | TAG_JSON },
                { "\" string=\"false\">", TAG_JSON },
                { "\" string=\"true\">", TAG_STRING },
        };
        struct tag_match match = { .tag = TAG_BEGUN };
        if (!read_word(symbols, n, &at, " name=\""))
                return (struct tag_match){ TAG_NONE, 0, 0, 0 };
        for (size_t i = at; i < n; i++) {
                /* No NUL anywhere: JSON libraries, ours too, do not take it in a key. */
                bool control = symbols[i] < (wanted & TAG_INVOKE ? ' ' : 1);
                if (symbols[i] >= SYMBOL_MARK || control || i - at > TAG_NAME_BYTES_MAX)
                        return (struct tag_match){ TAG_NONE, 0, 0, 0 };
                for (size_t k = 0; symbols[i] == '"' && k < sizeof(ends) / sizeof(ends[0]); k++) {
                        size_t end = i;
                        if ((ends[k].tag & wanted) == 0 ||
                            !read_word(symbols, n, &end, ends[k].word))
                                continue;
                        if (end - i < strlen(ends[k].word))
                                return match; /* perhaps */
                        unsigned tag = ends[k].tag & wanted;
                        return (struct tag_match){ (enum tag)tag, end, at, i - at };
                }
        }
        return match;
}

/* With the name chosen. */
static struct tag_match read_named(const symbol *symbols, size_t n, size_t at,
                                   const struct tag_name *name, bool close, unsigned wanted) {
        struct tag_match none = { .tag = TAG_NONE };
        unsigned tags = (close ? name->close : name->open) & wanted;
        size_t start = at;
        if (tags == 0 || !read_word(symbols, n, &at, name->word))
                return none;
        if (at - start < strlen(name->word))
                return (struct tag_match){ .tag = TAG_BEGUN };
        if (!close && name->open != TAG_CALLS)
                return read_attributes(symbols, n, at, tags);
        if (at == n)
                return (struct tag_match){ .tag = TAG_BEGUN };
        return symbols[at] == '>' ? (struct tag_match){ (enum tag)tags, at + 1, 0, 0 } : none;
}

struct tag_match tag_read(const symbol *symbols, size_t n, unsigned wanted) {
        struct tag_match none = { .tag = TAG_NONE }, begun = { .tag = TAG_BEGUN };
        unsigned closing = TAG_CALLS_END | TAG_INVOKE_END | TAG_PARAMETER_END;
        if (n == 0)
                return begun;
        if (symbols[0] != '<')
                return none;
        if (n == 1)
                return begun;
        bool close = symbols[1] == '/';
        size_t at = close ? 2 : 1;
        if ((wanted & (close ? closing : ~closing)) == 0)
                return none;
        if (at == n)
                return begun;
        if (symbols[at] != SYMBOL_MARK + CHAT_DSML)
                return none;
        if (++at < n && symbols[at] == ' ')
                at++;
        struct tag_match found = none;
        for (size_t i = 0; i < sizeof(tag_names) / sizeof(tag_names[0]); i++) {
                struct tag_match match = read_named(symbols, n, at, &tag_names[i], close, wanted);
                if (match.tag > found.tag)
                        found = match;
        }
        return found;
}

struct tag_match tag_read_opening(const symbol *symbols, size_t n, bool at_start, size_t *ret_at) {
        struct tag_match none = { .tag = TAG_NONE }, begun = { .tag = TAG_BEGUN };
        size_t at = 0;
        while (at < n && at < 2 && symbols[at] == '\n')
                at++;
        if (at == n)
                return begun;
        if (at == 0 && !at_start)
                return none;
        struct tag_match block = tag_read(symbols + at, n - at, TAG_CALLS);
        if (block.tag != TAG_CALLS)
                return block;
        at += block.n;
        size_t space = at;
        while (at < n && symbol_is_space(symbols[at]))
                at++;
        if (at - space > TAG_SPACE_MAX)
                return none;
        if (at == n)
                return begun;
        *ret_at = at;
        return tag_read(symbols + at, n - at, TAG_INVOKE);
}
