/*
 * literals.c - contract in consentd/literals.h.
 *
 * Building follows Aho and Corasick (1975): a trie, breadth-first failure links, then the links
 * are folded into the table so that the scan never follows one. States that end a text get the
 * highest numbers: the scan needs one comparison per byte to know whether it is at one.
 *
 * Most bytes of a script leave the automaton in its root; a 64 Ki bit table of the byte pairs
 * that begin a text skips those runs without touching the big table.
 */
#include "consentd/literals.h"

#include <stdlib.h>
#include <string.h>

#include "consentd/mem.h"

#define NOWHERE UINT32_MAX

struct node { /* of the trie, while building */
    uint32_t first_child, next_sibling;
    uint32_t fail;
    int32_t text; /* number of the text that ends here, or -1 */
    uint8_t byte;
};

struct literals {
    struct node *nodes; /* owned; the trie; freed by build */
    size_t node_cnt, node_cap;
    size_t text_cnt;
    size_t too_short_cnt;  /* texts of one byte: the pair table cannot be used */
    uint8_t class_of[256]; /* byte -> column; 0 is every byte that no text has */
    unsigned class_cnt;
    uint16_t *table;     /* owned; state_cnt rows of class_cnt columns */
    uint32_t state_cnt;  /* 0 until built */
    uint32_t first_end;  /* states from here on end a text */
    int32_t *text_of;    /* owned; [state - first_end]: a text, or -1 */
    uint32_t *output_of; /* owned; [state - first_end]: next state that ends a text, or NOWHERE */
    uint64_t pairs[65536 / 64]; /* pairs of bytes that some text begins with */
};

static uint32_t node_add(struct literals *l, uint8_t byte)
{
    if (l->node_cnt == l->node_cap) {
        l->node_cap = l->node_cap == 0 ? 256 : l->node_cap * 2;
        l->nodes = mem_realloc(l->nodes, l->node_cap * sizeof(*l->nodes));
    }
    l->nodes[l->node_cnt] =
        (struct node){.first_child = NOWHERE, .next_sibling = NOWHERE, .text = -1, .byte = byte};
    return (uint32_t)l->node_cnt++;
}

struct literals *literals_new(void)
{
    struct literals *l = mem_new(struct literals);

    node_add(l, 0);
    l->class_cnt = 1;
    return l;
}

void literals_free(struct literals *l)
{
    if (l == NULL)
        return;
    free(l->nodes);
    free(l->table);
    free(l->text_of);
    free(l->output_of);
    free(l);
}

static uint32_t node_child(const struct literals *l, uint32_t node, uint8_t byte)
{
    uint32_t child = l->nodes[node].first_child;

    while (child != NOWHERE && l->nodes[child].byte != byte)
        child = l->nodes[child].next_sibling;
    return child;
}

static void note_byte(struct literals *l, uint8_t byte)
{
    if (l->class_of[byte] == 0 && l->class_cnt < 256)
        l->class_of[byte] = (uint8_t)l->class_cnt++;
}

ptrdiff_t literals_add(struct literals *l, struct str text)
{
    uint32_t node = 0;

    ASSERT(l->state_cnt == 0);
    if (text.len == 0 || l->text_cnt >= LITERALS_MAX ||
        l->node_cnt + text.len > LITERALS_STATES_MAX)
        return -1;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = (uint8_t)text.ptr[i];
        uint32_t child = node_child(l, node, byte);

        note_byte(l, byte);
        if (child == NOWHERE) {
            child = node_add(l, byte);
            l->nodes[child].next_sibling = l->nodes[node].first_child;
            l->nodes[node].first_child = child;
        }
        node = child;
    }
    if (l->nodes[node].text < 0) {
        l->nodes[node].text = (int32_t)l->text_cnt++;
        if (text.len == 1)
            l->too_short_cnt++;
        else
            l->pairs[((uint8_t)text.ptr[0] << 8 | (uint8_t)text.ptr[1]) / 64] |=
                UINT64_C(1) << ((uint8_t)text.ptr[1] % 64);
    }
    return l->nodes[node].text;
}

/* Breadth-first order of the trie in order[]; sets every fail link. */
static void link_nodes(struct literals *l, uint32_t *order)
{
    size_t head = 0, tail = 0;

    order[tail++] = 0;
    while (head < tail) {
        uint32_t node = order[head++];

        for (uint32_t c = l->nodes[node].first_child; c != NOWHERE; c = l->nodes[c].next_sibling) {
            uint32_t fail = node;
            uint32_t target = NOWHERE;

            while (fail != 0 && target == NOWHERE) {
                fail = l->nodes[fail].fail;
                target = node_child(l, fail, l->nodes[c].byte);
            }
            l->nodes[c].fail = target == NOWHERE || target == c ? 0 : target;
            order[tail++] = c;
        }
    }
}

/* Whether a text ends at this node: its own, or the end of it. */
static bool node_ends(const struct literals *l, uint32_t node)
{
    while (node != 0) {
        if (l->nodes[node].text >= 0)
            return true;
        node = l->nodes[node].fail;
    }
    return false;
}

/* Gives the nodes their state numbers: those that end a text come last. */
static void number_states(struct literals *l, const uint32_t *order, uint32_t *state_of)
{
    uint32_t next = 0;

    for (size_t i = 0; i < l->node_cnt; i++) {
        if (!node_ends(l, order[i]))
            state_of[order[i]] = next++;
    }
    l->first_end = next;
    for (size_t i = 0; i < l->node_cnt; i++) {
        if (node_ends(l, order[i]))
            state_of[order[i]] = next++;
    }
    l->state_cnt = next;
}

static void fill_ends(struct literals *l, uint32_t node, const uint32_t *state_of)
{
    uint32_t i = state_of[node] - l->first_end;
    uint32_t next = l->nodes[node].fail;

    l->text_of[i] = l->nodes[node].text;
    while (next != 0 && l->nodes[next].text < 0)
        next = l->nodes[next].fail;
    l->output_of[i] = next == 0 ? NOWHERE : state_of[next];
}

/* Parents come before children in order[], so the fail state's row is complete already. */
static void fill_table(struct literals *l, const uint32_t *order, const uint32_t *state_of)
{
    for (size_t i = 0; i < l->node_cnt; i++) {
        uint32_t node = order[i];
        uint16_t *row = l->table + (size_t)state_of[node] * l->class_cnt;

        if (node != 0)
            memcpy(row, l->table + (size_t)state_of[l->nodes[node].fail] * l->class_cnt,
                   l->class_cnt * sizeof(*row));
        for (uint32_t c = l->nodes[node].first_child; c != NOWHERE; c = l->nodes[c].next_sibling)
            row[l->class_of[l->nodes[c].byte]] = (uint16_t)state_of[c];
        if (state_of[node] >= l->first_end)
            fill_ends(l, node, state_of);
    }
}

bool literals_build(struct literals *l)
{
    uint32_t *order, *state_of;

    ASSERT(l->state_cnt == 0);
    if (l->node_cnt > LITERALS_STATES_MAX)
        return false;
    order = mem_calloc(l->node_cnt, sizeof(*order));
    state_of = mem_calloc(l->node_cnt, sizeof(*state_of));
    link_nodes(l, order);
    number_states(l, order, state_of);
    l->table = mem_calloc((size_t)l->state_cnt * l->class_cnt, sizeof(*l->table));
    l->text_of = mem_calloc(l->state_cnt - l->first_end, sizeof(*l->text_of));
    l->output_of = mem_calloc(l->state_cnt - l->first_end, sizeof(*l->output_of));
    fill_table(l, order, state_of);
    free(order);
    free(state_of);
    free(l->nodes);
    l->nodes = NULL;
    return true;
}

size_t literals_cnt(const struct literals *l)
{
    return l->text_cnt;
}

size_t literals_bytes(const struct literals *l)
{
    return (size_t)l->state_cnt * l->class_cnt * sizeof(*l->table);
}

size_t literals_words(const struct literals *l)
{
    return (l->text_cnt + 63) / 64;
}

static void mark_seen(const struct literals *l, uint32_t state, uint64_t *seen)
{
    while (state != NOWHERE) {
        int32_t text = l->text_of[state - l->first_end];

        if (text >= 0)
            seen[text / 64] |= UINT64_C(1) << (text % 64);
        state = l->output_of[state - l->first_end];
    }
}

/* From the root: the next place where a text could begin. Needs all texts >= 2 bytes. */
static size_t skip_to_pair(const struct literals *l, const uint8_t *p, size_t i, size_t len)
{
    while (i + 1 < len) {
        unsigned pair = (unsigned)p[i] << 8 | p[i + 1];

        if ((l->pairs[pair / 64] >> (pair % 64) & 1) != 0)
            return i;
        i++;
    }
    return len;
}

bool literals_scan(const struct literals *l, struct str text, uint64_t *seen)
{
    const uint8_t *p = (const uint8_t *)text.ptr;
    bool skip = l->too_short_cnt == 0;
    uint32_t state = 0;
    bool any = false;

    ASSERT(l->state_cnt > 0);
    for (size_t i = 0; i < text.len; i++) {
        if (state == 0 && skip) {
            i = skip_to_pair(l, p, i, text.len);
            if (i >= text.len)
                break;
        }
        state = l->table[(size_t)state * l->class_cnt + l->class_of[p[i]]];
        if (state >= l->first_end) {
            mark_seen(l, state, seen);
            any = true;
        }
    }
    return any;
}

bool literals_seen(const uint64_t *seen, size_t n)
{
    return (seen[n / 64] >> (n % 64) & 1) != 0;
}
