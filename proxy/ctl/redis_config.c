/*
 * redis_config.c - how a command reaches the ledger's Redis, and how it reads a time.
 */
#include <stdio.h>
#include <string.h>

#include "consentd/config.h"
#include "consentd/crypto.h"
#include "consentd/file.h"
#include "consentd/query_text.h"
#include "ctl_priv.h"

#define TEXT_MAX (1u << 20) /* bytes of a password or certificate file */

bool ctl_redis_config(const struct config *config, struct ctl_redis *out, struct fault *f)
{
    const struct config_ledger *c = &config->ledger;
    struct str rest, line;

    memset(&out->config, 0, sizeof(out->config));
    buf_init(&out->password, TEXT_MAX);
    buf_init(&out->ca, TEXT_MAX);
    if (c->redis == NULL) {
        fault_set(f, "\"ledger\" names no Redis (\"redis\")");
        return false;
    }
    if ((c->redis_password_file != NULL &&
         !file_read(c->redis_password_file, TEXT_MAX, &out->password, f)) ||
        (c->redis_ca != NULL && !file_read(c->redis_ca, TEXT_MAX, &out->ca, f)))
        return false;
    rest = buf_str(&out->password);
    out->config = (struct rlink_config){
        .url = str_c(c->redis), .name = "consentctl", .ca_pem = buf_str(&out->ca)};
    if (rest.len > 0 && str_cut(&rest, '\n', &line))
        out->config.password = str_trim(line);
    if (out->config.password.len > 0)
        out->config.user = STR("consentd"); /* as the daemon: conf/redis-ledger.conf */
    return true;
}

void ctl_redis_free(struct ctl_redis *redis)
{
    if (redis->password.data != NULL)
        crypto_wipe(redis->password.data, redis->password.len);
    buf_free(&redis->password);
    buf_free(&redis->ca);
}

bool ctl_time(const char *text, uint64_t *ms_out)
{
    return text == NULL || query_time_parse(str_c(text), ms_out); /* as it was without one */
}
