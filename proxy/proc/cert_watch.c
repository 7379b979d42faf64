/*
 * cert_watch.c - certificates that changed on disk are taken without anybody asking.
 *
 * Whoever renews them (certbot, a config management) writes files one after the other. So a
 * change counts when it has stood still for one look, and is then a reload like any other: what
 * does not fit together is refused and said, and the old ones stay until the next change.
 */
#include <sys/stat.h>

#include "consentd/config.h"
#include "consentd/log.h"
#include "consentd/loop.h"
#include "master_priv.h"

#define LOOK_MS 2000

static uint64_t mix(uint64_t sum, uint64_t value)
{
    return (sum ^ value) * UINT64_C(0x100000001b3);
}

static uint64_t mix_file(uint64_t sum, const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return mix(sum, 1);
    sum = mix(sum, (uint64_t)st.st_ino);
    sum = mix(sum, (uint64_t)st.st_size);
    sum = mix(sum, (uint64_t)st.st_mtim.tv_sec);
    return mix(sum, (uint64_t)st.st_mtim.tv_nsec);
}

uint64_t certs_look(const struct config *c)
{
    uint64_t sum = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < c->listen_cnt; i++)
        for (size_t k = 0; k < c->listens[i].tls.cert_cnt; k++) {
            sum = mix_file(sum, c->listens[i].tls.certs[k].cert);
            sum = mix_file(sum, c->listens[i].tls.certs[k].key);
            if (c->listens[i].tls.certs[k].ocsp != NULL)
                sum = mix_file(sum, c->listens[i].tls.certs[k].ocsp);
        }
    return sum & INT64_MAX;
}

static void on_look(void *arg)
{
    struct master *m = arg;
    uint64_t now = certs_look(m->material->config);
    bool still = now == m->certs_last;

    m->certs_last = now;
    if (still && now != m->certs_loaded && !m->stopping) {
        log_info("certificates.changed", "");
        master_reload(m);
    }
    timer_set(&m->certs_timer, LOOK_MS);
}

void certs_tried(struct master *m)
{
    m->certs_loaded = certs_look(m->material->config);
}

/* The look came before the reading: what changed in between is a change that is still to come. */
void certs_seen(struct master *m)
{
    m->certs_loaded = m->material->certs;
}

void certs_watch(struct master *m)
{
    certs_seen(m);
    m->certs_last = m->certs_loaded;
    timer_init(&m->certs_timer, m->loop, on_look, m);
    timer_set(&m->certs_timer, LOOK_MS);
}
