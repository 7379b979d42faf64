/*
 * Any bytes as a script: the folded text is never longer, and taking comments out loses no code
 * that has no comment sign in it.
 */
#include <stdint.h>
#include <stdlib.h>

#include "consentd/jsdata.h"
#include "consentd/jsload.h"
#include "consentd/jstext.h"
#include "consentd/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct str text = str_make(data, len);
    char *folded = mem_alloc(len + 1);
    char *stripped = mem_alloc(len + 1);
    size_t folded_len = jstext_fold(text, folded);
    size_t stripped_len = jstext_strip(text, stripped);
    struct str address;
    size_t pos = 0;

    ASSERT(folded_len <= len && stripped_len <= len);
    if (str_find(text, STR("//")) < 0 && str_find(text, STR("/*")) < 0 &&
        str_find(text, STR("<!--")) < 0)
        ASSERT(str_eq(str_make(folded, folded_len), str_make(stripped, stripped_len)));
    (void)jsdata_is_all(text);
    (void)jstext_can_load(text);
    (void)jstext_only_mentions(text, STR("/x"));
    while (jsload_next(text, &pos, &address))
        ASSERT(pos <= len && address.len <= JSLOAD_ADDRESS_MAX);
    free(folded);
    free(stripped);
    return 0;
}
