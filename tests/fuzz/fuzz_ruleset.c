/*
 * Any bytes as a rule set: refused with a reason, or compiled and asked.
 */
#include <stdint.h>
#include <stdlib.h>

#include "consentd/decide.h"
#include "consentd/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct fault f = {0};
    struct categories categories;
    const struct rules_input input = {.categories = &categories, .match_limit = 1000};
    struct ruleset **sets = mem_calloc(1, sizeof(*sets));
    struct rules *rules;

    categories_init(&categories);
    sets[0] = ruleset_parse("rules/sets/x.json", str_make(data, len), &categories, &f);
    if (sets[0] == NULL) {
        ASSERT(f.text[0] != '\0');
        free(sets);
        return 0;
    }
    rules = rules_compile(sets, 1, &input, &f);
    if (rules != NULL) {
        struct snapshot *snapshot = snapshot_new(rules, 0, NULL, NULL, 0);
        const struct decider d = {.snapshot = snapshot};

        (void)decide_cookie(&d, STR("_ga_ABC")).action;
        (void)decide_inline(&d, str_make(data, len)).action;
        (void)decide_site_path(&d, STR("/g/collect?v=2")).action;
        snapshot_give(snapshot);
    }
    rules_give(rules);
    return 0;
}
