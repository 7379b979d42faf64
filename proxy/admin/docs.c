/*
 * docs.c - notice documents by their hash, read for rendering and kept while they are needed.
 */
#include <stdlib.h>
#include <string.h>

#include "admin_priv.h"
#include "consentd/config.h"
#include "consentd/file.h"
#include "consentd/log.h"
#include "consentd/notice.h"
#include "consentd/notices.h"
#include "consentd/policy.h"

/* The text of a document whose hash begins with `doc`; false: it is not here. */
static bool find_document(const struct admin *a, const uint8_t doc[16], struct str *out)
{
    for (size_t i = 0; i < a->setup.config->site_cnt; i++) {
        const struct policy *p = a->setup.policies[i];

        if (p != NULL && memcmp(p->doc_hash, doc, 16) == 0) {
            *out = p->document;
            return true;
        }
    }
    return false;
}

/* One that was in force before: the ledger keeps all of them. */
static struct dpv_notice *read_older(const struct admin *a, const uint8_t doc[16], struct fault *f)
{
    char *folder = file_resolve(a->setup.config->state_dir, NOTICES_FOLDER);
    struct notices *list = notices_open(folder, f);
    const struct notice_use *use = list != NULL ? notices_find(list, doc, 16) : NULL;
    struct dpv_notice *made = NULL;
    struct buf text;

    buf_init(&text, NOTICE_MAX);
    if (use != NULL && notices_read(list, use->hash, &text, f))
        made = dpv_notice_new(buf_str(&text), f);
    buf_free(&text);
    notices_free(list);
    free(folder);
    return made;
}

struct dpv_notice *docs_notice(struct admin *a, const uint8_t doc[16])
{
    struct admin_doc *slot = &a->docs[a->next_doc % ADMIN_DOCS_KEPT];
    struct fault f = {{0}};
    struct str text;

    for (size_t i = 0; i < ADMIN_DOCS_KEPT; i++)
        if (a->docs[i].used && memcmp(a->docs[i].doc, doc, 16) == 0)
            return a->docs[i].notice;
    a->next_doc++;
    dpv_notice_free(slot->notice);
    *slot = (struct admin_doc){.used = true};
    memcpy(slot->doc, doc, 16);
    slot->notice = find_document(a, doc, &text) ? dpv_notice_new(text, &f) : read_older(a, doc, &f);
    if (slot->notice == NULL && f.text[0] != '\0')
        log_warn("admin.notice", "reason=\"%s\"", f.text);
    return slot->notice;
}

void docs_free(struct admin *a)
{
    for (size_t i = 0; i < ADMIN_DOCS_KEPT; i++)
        dpv_notice_free(a->docs[i].notice);
}
