/*
 * Any bytes as a cookie name: what a rule denies is denied for every reading of the pair.
 */
#include <stdint.h>

#include "consentd/decide.h"
#include "consentd/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static bool next_set(void *arg, struct str *name_out, struct str *text_out)
{
    bool *done = arg;

    if (*done)
        return false;
    *done = true;
    *name_out = STR("x.json");
    *text_out =
        STR("{\"id\":\"x\",\"name\":\"x\",\"vendor\":\"x\",\"category\":\"analytics\","
            "\"purpose\":\"x\",\"sources\":[\"x\"],\"cookies\":[{\"name\":\"_ga\"},"
            "{\"prefix\":\"__utm\"},{\"regex\":\"_ga_[A-Z0-9]+\"},{\"regex\":\"[a-z]+_id\"}]}");
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct snapshot *snapshot;
    struct decider d = {0};
    struct str rest = str_make(data, len);
    struct cookie_pair pair;

    if (snapshot == NULL) {
        bool done = false;
        struct categories categories;
        const struct rules_input input = {.categories = &categories};

        categories_init(&categories);
        snapshot = snapshot_new(rules_load(next_set, &done, &input, NULL), 0, NULL, NULL, 0);
    }
    d.snapshot = snapshot;
    while (cookie_next(&rest, &pair)) {
        struct verdict exact = decide_cookie(&d, pair.name);
        struct verdict whole = decide_cookie_pair(&d, &pair);

        ASSERT(exact.action != VERDICT_STRIP || whole.action == VERDICT_STRIP);
        ASSERT(exact.rule != NULL && whole.rule != NULL);
    }
    return 0;
}
