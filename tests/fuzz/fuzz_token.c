/*
 * Any bytes as a token: nobody without the key makes one that is accepted.
 */
#include <stdint.h>
#include <string.h>

#include "consentd/mem.h"
#include "consentd/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct keyring *ring;
    const struct token_check check = {.site = STR("www.netstreem.com"), .now_s = 1795470842};
    struct token_claims claims, zero = {0};

    if (ring == NULL)
        ring = keyring_parse("keys",
                             STR("{\"keys\":[{\"kid\":3,\"use\":\"tok\",\"state\":\"active\","
                                 "\"key\":\"MzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzM\"}]}"),
                             NULL);
    ASSERT(token_verify(ring, str_make(data, len), &check, &claims) != TOKEN_OK);
    ASSERT(memcmp(&claims, &zero, sizeof(claims)) == 0);
    return 0;
}
