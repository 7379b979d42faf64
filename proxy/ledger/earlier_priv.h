/*
 * earlier_priv.h - the logs that ended before the log of today (consentd/restarts.h): their names,
 * their checkpoints, and what they still know of a leaf. layer: ledger
 */
#ifndef LEDGER_EARLIER_PRIV_H
#define LEDGER_EARLIER_PRIV_H

#include <stdbool.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "ledger_priv.h"

/* The ledger's keys under the name of a node's log; false: the name makes no key. */
MUST_USE bool earlier_keys(const struct ledger *l, unsigned node, struct note_key *keys);

/* The checkpoint in this folder, when this node's log signed it. */
MUST_USE bool earlier_checkpoint(const struct ledger *l, unsigned node, const char *path,
                                 struct merkle_tree *out);

/* The node whose log this folder holds, by a checkpoint that can be believed; 0: none. */
uint8_t earlier_node(const struct ledger *l, const char *path);

struct earlier;

/* Those whose checkpoints can be believed, in their own folders. */
struct earlier *earlier_open(const struct ledger *l);
void earlier_free(struct earlier *e);

/* The entry of a leaf; false: none has it, and what comes out is the mark for that. */
MUST_USE bool earlier_entry(struct earlier *e, uint64_t leaf, uint8_t cmt_out[32]);

#endif
