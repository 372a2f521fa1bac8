#!/bin/sh
# The installed tree has what a packager expects where they expect it, and is enough to work with: a
# C program finds libseekd through pkg-config, compiles, and completes text at the installed daemon
# with the installed model. Run by meson with the directories of the build in the environment.
set -eu

dest=$(mktemp -d "${TMPDIR:-/tmp}/seekd-install.XXXXXX")
daemon=''
cleanup() {
        if [ -n "$daemon" ]; then
                kill "$daemon" 2>/dev/null || true
                wait "$daemon" 2>/dev/null || true
        fi
        rm -rf "$dest"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

fail() {
        echo "install: $*" >&2
        [ ! -s "$dest/seekd.log" ] || sed 's/^/seekd.log: /' "$dest/seekd.log" >&2
        exit 1
}

DESTDIR=$dest "$MESON" install -C "$BUILD_ROOT" --no-rebuild >"$dest/meson.log" 2>&1 || {
        cat "$dest/meson.log" >&2
        fail "meson install failed"
}

# Absolute directories stay where they are, others are below the prefix.
in_tree() {
        case "$1" in
        /*) echo "$dest$1" ;;
        *) echo "$dest$PREFIX/$1" ;;
        esac
}
bin=$(in_tree "$BINDIR") lib=$(in_tree "$LIBDIR") share=$(in_tree "$DATADIR")
model=$share/seekd/models/seed-coder

missing=0
expect() {
        for path; do
                [ -e "$path" ] || {
                        echo "not installed: ${path#"$dest"}" >&2
                        missing=1
                }
        done
}
expect "$bin/seek" "$bin/seekd" "$bin/seekd-eval" "$bin/seekd-bench"
expect "$lib/libseekd.so" "$lib/pkgconfig/libseekd.pc"
ls "$lib"/libseekd.so.[0-9]* >/dev/null || missing=1
expect "$(in_tree "$INCLUDEDIR")/seekd.h"
expect "$model/config.json" "$model/tokenizer.json" "$model/model.safetensors" "$model/MANIFEST.md"
expect "$share/bash-completion/completions/seek"
for unit in systemd/system/seekd.service systemd/system/seekd.socket sysusers.d/seekd.conf; do
        [ -n "$(find "$dest" -path "*/$unit")" ] || {
                echo "not installed: $unit" >&2
                missing=1
        }
done
if [ -n "${SCDOC:-}" ]; then
        man=$(in_tree "$MANDIR")
        expect "$man/man1/seek.1" "$man/man1/seekd-eval.1" "$man/man1/seekd-bench.1" \
                "$man/man3/libseekd.3" "$man/man5/seekd.conf.5" "$man/man7/seekd-protocol.7" \
                "$man/man8/seekd.8"
fi
[ $missing -eq 0 ] || fail "the tree is not complete"
[ ! -e "$model/golden" ] || fail "the golden files are for tests only, but are installed"
find "$dest" -path '*/tests/*' | grep . && fail "tests are installed"

cat >"$dest/program.c" <<'C'
#include <seekd.h>
#include <stdio.h>

static int print(void *userdata, const struct seekd_piece *piece) {
        (void)userdata;
        fwrite(piece->text, 1, piece->text_bytes, stdout);
        return 0;
}

int main(void) {
        struct seekd_client *client;
        char error[SEEKD_ERROR_BYTES];
        struct seekd_params params = SEEKD_PARAMS_INIT;
        params.prompt = "int main(";
        params.prompt_bytes = SEEKD_ZERO_TERMINATED;
        params.max_tokens = 16;
        if (seekd_connect(NULL, &client, error, sizeof(error)) < 0)
                return fprintf(stderr, "%s\n", error), 1;
        int r = seekd_complete(client, &params, print, NULL, NULL);
        return seekd_disconnect(client), r < 0;
}
C
export PKG_CONFIG_PATH="$lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$dest"
# shellcheck disable=SC2046,SC2086 # several words each
${CC:-cc} -Wall -Wextra -Werror "$dest/program.c" -o "$dest/program" \
        $(pkg-config --cflags --libs libseekd) || fail "a program with pkg-config libseekd does not compile"

export LD_LIBRARY_PATH="$lib" SEEKD_SOCKET="$dest/seekd.sock"
mkdir "$dest/state"
"$bin/seekd" --model "$model" --socket "$SEEKD_SOCKET" --state "$dest/state" \
        </dev/null >"$dest/seekd.log" 2>&1 &
daemon=$!
n=0
until "$bin/seek" status >/dev/null 2>&1; do
        kill -0 "$daemon" 2>/dev/null || fail "the installed daemon ended"
        n=$((n + 1))
        [ $n -lt 600 ] || fail "the installed daemon does not become ready"
        sleep 0.1
done

text=$("$dest/program") || fail "the program failed"
[ -n "$text" ] || fail "the program printed nothing"
shell_text=$(printf 'int main(' | "$bin/seek" complete - --max-tokens 16 --temperature 0)
[ "$text" = "$shell_text" ] || fail "the library gives '$text', the shell tool '$shell_text'"
echo "completed: int main($text"
