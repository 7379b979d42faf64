/*
 * ship_info.c - what the shipper wants to know from INFO's text.
 */
#include <stdio.h>
#include <string.h>

#include "ship_priv.h"

/* The value of "name:value" in INFO's text. */
static struct str info_get(struct str info, const char *name)
{
    struct str line;
    size_t len = strlen(name);

    while (str_cut(&info, '\n', &line))
        if (line.len > len && str_starts(line, str_c(name)) && line.ptr[len] == ':') {
            line = str_slice(line, len + 1, line.len);
            return line.len > 0 && line.ptr[line.len - 1] == '\r' ? str_slice(line, 0, line.len - 1)
                                                                  : line;
        }
    return (struct str){NULL, 0};
}

void ship_facts_read(struct str info, struct ship_facts *out)
{
    uint64_t us = 0;

    memset(out, 0, sizeof(*out));
    out->loading = str_eq_c(info_get(info, "loading"), "1");
    out->master = str_eq_c(info_get(info, "role"), "master");
    out->aof = str_eq_c(info_get(info, "aof_enabled"), "1");
    out->persistent = out->aof && str_eq_c(info_get(info, "aof_last_write_status"), "ok");
    out->policy = info_get(info, "maxmemory_policy");
    out->run_id = info_get(info, "run_id");
    if (str_to_u64(info_get(info, "server_time_usec"), UINT64_MAX, &us))
        out->time_ms = us / 1000;
}
