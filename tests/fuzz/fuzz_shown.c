/*
 * fuzz_shown.c - a worker's report of showing: what is taken has names that a counter may have.
 */
#include <stdint.h>
#include <string.h>

#include "consentd/mem.h"
#include "consentd/shown.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct shown_entry entries[SHOWN_ENTRIES_MAX];
    size_t cnt = shown_decode(str_make(data, len), entries);

    ASSERT(cnt == 0 || cnt * sizeof(entries[0]) == len);
    for (size_t i = 0; i < cnt; i++) {
        char names[SHOWN_NAMES_EACH][SHOWN_NAME_MAX];

        shown_names(&entries[i], names);
        for (size_t k = 0; k < SHOWN_NAMES_EACH; k++) {
            struct str name = str_make(names[k], strnlen(names[k], SHOWN_NAME_MAX));

            ASSERT(name.len < SHOWN_NAME_MAX - 1 && str_starts(name, STR("imp")));
            for (size_t c = 0; c < name.len; c++)
                ASSERT(ascii_is_alnum(name.ptr[c]) || strchr(":-_", name.ptr[c]) != NULL);
        }
    }
    return 0;
}
