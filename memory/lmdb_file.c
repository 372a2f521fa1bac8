#include "memory/lmdb_file.h"

#include <assert.h>
#include <errno.h>
#include <lmdb.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && sizeof(size_t) == 8,
              "LMDB's file has the machine's byte order and word size");

#define MAGIC         0xBEEFC0DEU
#define VERSION       1U
#define NO_PAGE       UINT64_MAX
#define DEPTH_MAX     16 /* 4096-byte pages with two keys at least: 2^16 leaves; ours have dozens */
#define KEY_BYTES_MAX 511

/* Pages that were taken at the end of the file and given back in the same transaction are never
 * written, so the last page may lie past the end: at most one transaction's worth (256 MiB). */
#define UNWRITTEN_PAGES_MAX 65536

enum page_kind { PAGE_BRANCH = 0x01, PAGE_LEAF = 0x02, PAGE_OVERFLOW = 0x04, PAGE_META = 0x08 };
enum node_flag { NODE_BIG = 0x01, NODE_DATABASE = 0x02 };

struct page_head {
        uint64_t number;
        uint16_t pad;
        uint16_t flags;
        uint16_t lower; /* end of the table of nodes */
        uint16_t upper; /* start of the nodes; together with lower the length of an overflow run */
};

struct node_head {
        uint16_t low, high; /* leaf: bytes of data; branch: low bits of the child */
        uint16_t flags;     /* branch: high bits of the child */
        uint16_t key_bytes;
};

struct tree {
        uint32_t pad;
        uint16_t flags;
        uint16_t depth;
        uint64_t branch_pages, leaf_pages, overflow_pages;
        uint64_t entries;
        uint64_t root;
};

struct meta {
        uint32_t magic, version;
        uint64_t address, map_bytes;
        struct tree free, main;
        uint64_t last_page;
        uint64_t transaction;
};

static_assert(sizeof(struct page_head) == LMDB_PAGE_HEADER && sizeof(struct node_head) == 8 &&
                      sizeof(struct tree) == 48 && sizeof(struct meta) == 136,
              "as in the file");

enum which { TREE_FREE, TREE_MAIN, TREE_NAMED };

/* One tree on its way through the file. */
struct walk {
        int fd;
        uint64_t file_pages;
        struct meta meta;
        uint8_t *used; /* one bit a page up to last_page */
        const struct lmdb_database *databases;
        unsigned n_databases;
        lmdb_visit *visit;
        void *context;
        bool foreign; /* there is a database that nobody asked for */
        struct error *err;
};

struct cursor {
        struct walk *walk;
        enum which which;
        unsigned database;
        const struct tree *tree;
        struct tree found; /* counts */
        uint8_t key[KEY_BYTES_MAX];
        size_t key_bytes; /* 0 = no key yet */
        bool at_least;    /* the next key may equal this one: it is a separator */
        uint8_t page[DEPTH_MAX][LMDB_PAGE_BYTES];
};

#define damaged(walk, ...) error_set((walk)->err, -EUCLEAN, __VA_ARGS__)

static int read_pages(struct walk *w, uint64_t page, void *ret, size_t bytes) {
        size_t done = 0;
        while (done < bytes) {
                ssize_t n = pread(w->fd, (uint8_t *)ret + done, bytes - done,
                                  (off_t)(page * LMDB_PAGE_BYTES + done));
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return damaged(w, "LMDB page %llu: %s", (unsigned long long)page,
                                       strerror(errno));
                if (n == 0)
                        return damaged(w, "LMDB page %llu: the file ends before it",
                                       (unsigned long long)page);
                done += (size_t)n;
        }
        return 0;
}

/* Marks pages [first, first + n); each may be marked once. `written`: they are in the file. */
static int use_pages(struct walk *w, uint64_t first, uint64_t n, bool written) {
        uint64_t end = w->meta.last_page + 1;
        if (written && end > w->file_pages)
                end = w->file_pages;
        if (first < 2 || first >= end || n > end - first)
                return damaged(w, "LMDB pages %llu + %llu: outside of the file",
                               (unsigned long long)first, (unsigned long long)n);
        for (uint64_t page = first; page < first + n; page++) {
                uint8_t bit = (uint8_t)(1U << (page % 8));
                if (w->used[page / 8] & bit)
                        return damaged(w, "LMDB page %llu: used twice", (unsigned long long)page);
                w->used[page / 8] |= bit;
        }
        return 0;
}

static int check_free_list(struct walk *w, const uint8_t *key, const uint64_t *list,
                           uint64_t words) {
        uint64_t transaction;
        memcpy(&transaction, key, sizeof(transaction));
        if (transaction > w->meta.transaction || words == 0 || list[0] > words - 1)
                return damaged(w, "LMDB: list of free pages of transaction %llu",
                               (unsigned long long)transaction);
        for (uint64_t i = 1; i <= list[0]; i++) {
                if (i > 1 && list[i] >= list[i - 1])
                        return damaged(w, "LMDB: a list of free pages is not sorted");
                int r = use_pages(w, list[i], 1, false);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int visit_free(struct cursor *c, const struct lmdb_node *node) {
        struct walk *w = c->walk;
        if (node->key_bytes != sizeof(uint64_t) || node->data_bytes % sizeof(uint64_t) != 0)
                return damaged(w, "LMDB: a list of free pages of wrong size");
        uint64_t run_bytes = lmdb_run_pages(node->data_bytes) * LMDB_PAGE_BYTES;
        CLEANUP_FREE uint8_t *list = malloc(node->data ? node->data_bytes + 8 : run_bytes);
        if (!list)
                return error_set(w->err, -ENOMEM, "no memory");
        const uint8_t *words = list;
        if (node->data) {
                memcpy(list, node->data, node->data_bytes); /* nodes are aligned to 2 bytes alone */
        } else {
                int r = read_pages(w, node->run, list, run_bytes);
                if (r < 0)
                        return r;
                words += LMDB_PAGE_HEADER;
        }
        return check_free_list(w, node->key, (const uint64_t *)(const void *)words,
                               node->data_bytes / sizeof(uint64_t));
}

static int walk_tree(struct walk *w, enum which which, unsigned database, const struct tree *tree,
                     uint16_t flags);

static int visit_named(struct cursor *c, const struct lmdb_node *node) {
        struct walk *w = c->walk;
        struct tree tree;
        if (node->data_bytes != sizeof(tree))
                return damaged(w, "LMDB: a database's description of wrong size");
        memcpy(&tree, node->data, sizeof(tree));
        for (unsigned i = 0; i < w->n_databases; i++) {
                const char *name = w->databases[i].name;
                if (node->key_bytes == strlen(name) &&
                    memcmp(node->key, name, node->key_bytes) == 0)
                        return walk_tree(w, TREE_NAMED, i, &tree, w->databases[i].flags);
        }
        /* Said at the end: the visitor may first find out that a later format put it there. */
        w->foreign = true;
        return 0;
}

static int compare_keys(const struct cursor *c, const uint8_t *key, size_t bytes) {
        if (c->tree->flags & MDB_INTEGERKEY) {
                uint64_t a, b;
                memcpy(&a, key, sizeof(a));
                memcpy(&b, c->key, sizeof(b));
                return a < b ? -1 : a > b;
        }
        size_t common = bytes < c->key_bytes ? bytes : c->key_bytes;
        int order = memcmp(key, c->key, common);
        return order != 0 ? order : bytes < c->key_bytes ? -1 : bytes > c->key_bytes;
}

/* Keys ascend through the whole tree, separators among them. */
static int next_key(struct cursor *c, const uint8_t *key, size_t bytes, bool separator) {
        bool number = c->tree->flags & MDB_INTEGERKEY;
        if (bytes == 0 || bytes > KEY_BYTES_MAX || (number && bytes != sizeof(uint64_t)))
                return damaged(c->walk, "LMDB: a key of %zu bytes", bytes);
        if (c->key_bytes > 0) {
                int order = compare_keys(c, key, bytes);
                if (order < 0 || (order == 0 && !c->at_least))
                        return damaged(c->walk, "LMDB: keys do not ascend");
        }
        memcpy(c->key, key, bytes);
        c->key_bytes = bytes;
        c->at_least = separator;
        return 0;
}

static int check_leaf_node(struct cursor *c, const struct node_head *head, const uint8_t *key) {
        struct walk *w = c->walk;
        struct lmdb_node node = {
                .database = c->database,
                .key = key,
                .key_bytes = head->key_bytes,
                .data = key + head->key_bytes,
                .data_bytes = head->low | (uint64_t)head->high << 16,
        };
        if (head->flags != (c->which == TREE_MAIN ? NODE_DATABASE : head->flags & NODE_BIG))
                return damaged(w, "LMDB: a node with flags %#x", head->flags);
        int r = next_key(c, key, head->key_bytes, false);
        if (r < 0)
                return r;
        c->found.entries++;
        if (head->flags & NODE_BIG) {
                memcpy(&node.run, node.data, sizeof(node.run));
                node.data = NULL;
                uint64_t pages = lmdb_run_pages(node.data_bytes);
                c->found.overflow_pages += pages;
                if ((r = use_pages(w, node.run, pages, true)) < 0)
                        return r;
        }
        switch (c->which) {
        case TREE_FREE: return visit_free(c, &node);
        case TREE_MAIN: return visit_named(c, &node);
        case TREE_NAMED: return w->visit(w->context, &node);
        }
        return 0;
}

/* Bytes of a node, or 0 when it does not fit between `from` and the end of the page. */
static size_t node_bytes(const struct node_head *head, bool leaf, size_t from) {
        uint64_t bytes = sizeof(*head) + head->key_bytes;
        if (leaf)
                bytes += head->flags & NODE_BIG ? sizeof(uint64_t)
                                                : head->low | (uint64_t)head->high << 16;
        bytes += bytes & 1;
        return bytes <= LMDB_PAGE_BYTES - from ? (size_t)bytes : 0;
}

static int walk_page(struct cursor *c, uint64_t number, unsigned level);

/* Node i of a page: within the page, not over another node. */
static int check_node(struct cursor *c, unsigned level, unsigned i, uint8_t *bytes_taken) {
        struct walk *w = c->walk;
        const uint8_t *page = c->page[level];
        bool leaf = level + 1 == c->tree->depth;
        struct page_head head;
        struct node_head node;
        uint16_t from;
        memcpy(&head, page, sizeof(head));
        memcpy(&from, page + sizeof(head) + 2UL * i, sizeof(from));
        if (from < head.upper || from % 2 != 0 || from > LMDB_PAGE_BYTES - sizeof(node))
                return damaged(w, "LMDB page %llu: node %u lies outside",
                               (unsigned long long)head.number, i);
        memcpy(&node, page + from, sizeof(node));
        size_t bytes = node_bytes(&node, leaf, from);
        if (bytes == 0)
                return damaged(w, "LMDB page %llu: node %u does not fit",
                               (unsigned long long)head.number, i);
        for (size_t at = from / 2U; at < (from + bytes) / 2; at++) {
                if (bytes_taken[at])
                        return damaged(w, "LMDB page %llu: nodes overlap",
                                       (unsigned long long)head.number);
                bytes_taken[at] = 1;
        }
        if (leaf)
                return check_leaf_node(c, &node, page + from + sizeof(node));
        /* The first key of a branch stands for "less than all others" and is not compared. */
        if (i > 0) {
                int r = next_key(c, page + from + sizeof(node), node.key_bytes, true);
                if (r < 0)
                        return r;
        }
        uint64_t child = node.low | (uint64_t)node.high << 16 | (uint64_t)node.flags << 32;
        return walk_page(c, child, level + 1);
}

static int walk_page(struct cursor *c, uint64_t number, unsigned level) {
        struct walk *w = c->walk;
        bool leaf = level + 1 == c->tree->depth;
        struct page_head head;
        int r = use_pages(w, number, 1, true);
        if (r == 0)
                r = read_pages(w, number, c->page[level], LMDB_PAGE_BYTES);
        if (r < 0)
                return r;
        memcpy(&head, c->page[level], sizeof(head));
        unsigned n = (head.lower - (unsigned)sizeof(head)) / 2;
        if (head.number != number || head.flags != (leaf ? PAGE_LEAF : PAGE_BRANCH) ||
            head.lower < sizeof(head) || head.lower % 2 != 0 || head.upper < head.lower ||
            head.upper > LMDB_PAGE_BYTES || n == 0 ||
            (!leaf && n < 2 && c->which != TREE_FREE)) /* LMDB lets that one shrink to a path */
                return damaged(w, "LMDB page %llu: its head is wrong", (unsigned long long)number);
        if (leaf)
                c->found.leaf_pages++;
        else
                c->found.branch_pages++;
        uint8_t taken[LMDB_PAGE_BYTES / 2] = { 0 };
        for (unsigned i = 0; i < n; i++)
                if ((r = check_node(c, level, i, taken)) < 0)
                        return r;
        return 0;
}

static int walk_tree(struct walk *w, enum which which, unsigned database, const struct tree *tree,
                     uint16_t flags) {
        if (tree->flags != flags || tree->depth > DEPTH_MAX ||
            (tree->depth == 0) != (tree->root == NO_PAGE))
                return damaged(w, "LMDB: the description of a database is wrong");
        CLEANUP_FREE struct cursor *c = calloc(1, sizeof(*c));
        if (!c)
                return error_set(w->err, -ENOMEM, "no memory");
        c->walk = w;
        c->which = which;
        c->database = database;
        c->tree = tree;
        if (tree->depth > 0) {
                int r = walk_page(c, tree->root, 0);
                if (r < 0)
                        return r;
        }
        if (c->found.entries != tree->entries || c->found.leaf_pages != tree->leaf_pages ||
            c->found.branch_pages != tree->branch_pages ||
            c->found.overflow_pages != tree->overflow_pages)
                return damaged(w, "LMDB: a database does not have the pages or entries it counts");
        return 0;
}

/* The two meta pages take turns; the later transaction counts, as LMDB chooses. */
static int read_meta(struct walk *w) {
        struct meta meta[2];
        bool later_version = true;
        for (unsigned i = 0; i < 2; i++) {
                uint8_t page[LMDB_PAGE_BYTES];
                struct page_head head;
                int r = read_pages(w, i, page, sizeof(page));
                if (r < 0)
                        return r;
                memcpy(&head, page, sizeof(head));
                memcpy(&meta[i], page + sizeof(head), sizeof(meta[i]));
                if (head.number != i || head.flags != PAGE_META || meta[i].magic != MAGIC)
                        return damaged(w, "LMDB: meta page %u is none", i);
                later_version &= meta[i].version > VERSION;
        }
        if (later_version)
                return error_set(w->err, -EPROTONOSUPPORT, "LMDB's data format %u, not %u",
                                 meta[0].version, VERSION);
        if (meta[0].version != VERSION || meta[1].version != VERSION ||
            meta[0].free.pad != LMDB_PAGE_BYTES || meta[1].free.pad != LMDB_PAGE_BYTES)
                return damaged(w, "LMDB: the meta pages name versions or sizes that are not ours");
        w->meta = meta[meta[1].transaction > meta[0].transaction];
        if (w->meta.last_page < 1 || w->meta.last_page > w->file_pages + UNWRITTEN_PAGES_MAX)
                return damaged(w, "LMDB: %llu pages in a file of %llu",
                               (unsigned long long)w->meta.last_page + 1,
                               (unsigned long long)w->file_pages);
        return 0;
}

int lmdb_file_walk(int fd, uint16_t env_flags, const struct lmdb_database *databases,
                   unsigned n_databases, lmdb_visit *visit, void *context, struct error *err) {
        struct stat st;
        if (fstat(fd, &st) < 0)
                return error_errno(err, "fstat");
        if (st.st_size == 0)
                return error_set(err, -ENODATA, "the file is empty");
        struct walk w = {
                .fd = fd,
                .file_pages = (uint64_t)st.st_size / LMDB_PAGE_BYTES,
                .databases = databases,
                .n_databases = n_databases,
                .visit = visit,
                .context = context,
                .err = err,
        };
        int r = read_meta(&w);
        if (r < 0)
                return r;
        CLEANUP_FREE uint8_t *used = calloc(w.meta.last_page / 8 + 1, 1);
        if (!used)
                return error_set(err, -ENOMEM, "no memory");
        w.used = used;
        r = walk_tree(&w, TREE_MAIN, 0, &w.meta.main, 0);
        if (r < 0)
                return r;
        if (w.foreign)
                return damaged(&w, "LMDB: a database that is not ours");
        return walk_tree(&w, TREE_FREE, 0, &w.meta.free, env_flags | MDB_INTEGERKEY);
}
