/*
 * policy_api.c - the policies in force, and that one is being published.
 *
 * The file of a policy is the operator's and this process can't write it: consentctl does, after
 * the record that names site, version, epoch and document was made. The route itself is the
 * record, see routes.c.
 */
#include <stdlib.h>

#include "admin_priv.h"
#include "consentd/b64.h"
#include "consentd/config.h"
#include "consentd/json.h"
#include "consentd/policy.h"

static json_t *site_json(const struct config_site *site, const struct policy *policy)
{
    char hash[65];

    hex_encode(hash, policy->doc_hash, sizeof(policy->doc_hash));
    return json_pack("{s:s, s:s, s:s, s:I, s:s, s:s}", "site", site->name, "host",
                     site->hosts.items[0], "version", policy->version, "epoch",
                     (json_int_t)policy->epoch, "effective", policy->effective, "sha256", hash);
}

void policy_api_list(struct admin_client *c)
{
    const struct admin_setup *setup = &c->admin->setup;
    json_t *sites = json_array();
    json_t *root = json_pack("{s:o}", "sites", sites);
    char *text;

    for (size_t i = 0; i < setup->config->site_cnt && setup->policies != NULL; i++)
        json_array_append_new(sites, site_json(&setup->config->sites[i], setup->policies[i]));
    text = json_dumps(root, JSON_COMPACT);
    admin_answer(c, 200, "application/json", str_c(text));
    free(text);
    json_decref(root);
}

void policy_api_publish(struct admin_client *c)
{
    admin_answer(c, 200, "application/json", STR("{\"recorded\":true}"));
}
