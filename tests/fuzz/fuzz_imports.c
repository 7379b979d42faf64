/*
 * Any bytes as a script that is searched for imports: cutting the input anywhere changes nothing,
 * and what drops nothing is identical.
 */
#include <stdlib.h>

#include "consentd/buf.h"
#include "consentd/imports.h"

#define OUT_MAX ((size_t)8 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
    bool drop; /* every address */
    uint64_t removed;
    struct buf out;
};

static void must(bool ok)
{
    if (!ok)
        abort();
}

static enum html_action on_ref(void *owner, const struct html_ref *ref, struct html_note *note_out)
{
    const struct run *run = owner;

    UNUSED(note_out);
    must(ref->value.len <= IMPORTS_HELD_MAX);
    return run->drop ? HTML_DROP : HTML_KEEP;
}

static bool on_output(void *owner, const uint8_t *data, size_t len)
{
    struct run *run = owner;

    return buf_append(&run->out, data, len);
}

/* In pieces of `first` bytes and then of `step`; the run's output takes the place of the last. */
static void run_it(struct run *run, struct str in, size_t first, size_t step)
{
    static const struct html_ops ops = {.on_ref = on_ref, .on_output = on_output};
    struct imports *imports = imports_new(&ops, STR("/none"), run);
    size_t end = first < in.len ? first : in.len;

    buf_free(&run->out);
    buf_init(&run->out, OUT_MAX);
    for (size_t at = 0; at < in.len; at = end, end = in.len - at < step ? in.len : at + step)
        must(imports_push(imports, str_slice(in, at, end - at)));
    must(imports_end(imports));
    run->removed = imports_removed(imports);
    imports_free(imports);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run kept = {0};
    struct run whole = {.drop = true};
    struct run cut = {.drop = true};
    struct str in;

    if (size < 2)
        return 0;
    in = str_make(data + 1, size - 1);
    run_it(&kept, in, in.len, in.len);
    must(str_eq(buf_str(&kept.out), in));
    run_it(&whole, in, in.len, in.len);
    run_it(&cut, in, 1, 1);
    must(str_eq(buf_str(&cut.out), buf_str(&whole.out)) && cut.removed == whole.removed);
    run_it(&cut, in, 1 + data[0] % in.len, 1 + data[0] % 7);
    must(str_eq(buf_str(&cut.out), buf_str(&whole.out)));
    buf_free(&kept.out);
    buf_free(&whole.out);
    buf_free(&cut.out);
    return 0;
}
