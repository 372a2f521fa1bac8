/* From the regular expressions of a tokenizer.json to PCRE2's dialect.
 *
 * Hugging Face runs these patterns on Oniguruma. Most of the syntax means the same to PCRE2; what
 * does not is rewritten
 * (\s, which in PCRE2 also matches U+180E) or refused by name, because a pattern that means
 * something slightly else would give other token ids without an error. Any thread. */
#pragma once

struct error;

/* DeepSeek's longest is 140 bytes, the longest published ones a few hundred. */
#define SPLIT_PATTERN_BYTES_MAX 4096

/* `*ret` is a string for pcre2_compile() with PCRE2_UTF | PCRE2_UCP, to be freed by the caller.
 * -EINVAL names the construct and its byte offset. */
int split_pattern_translate(const char *pattern, char **ret, struct error *err);
