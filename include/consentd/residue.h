/*
 * residue.h - what is left in memory behind what was in use: ids, secrets, plaintexts. layer: base
 *
 *   the heap     free(3) and realloc(3) clear what they take back, in all libraries too
 *   kept blocks  spare.h gives them out uncleared: residue_spares()
 *   the stack    what returned functions left there: residue_stack()
 *
 * The event loop calls the last two, and clears its own buffers, a second after it had work
 * (loop.h): that costs nothing per request, and a person who was erased is in no process' memory
 * a few seconds later. Whoever keeps a buffer for longer than one call clears it itself when what
 * is in it was used (buf_wipe, crypto_wipe).
 *
 * A build with AddressSanitizer keeps what is freed for its own ends: nothing is cleared there.
 */
#ifndef CONSENTD_RESIDUE_H
#define CONSENTD_RESIDUE_H

/* From here on the heap clears what is given back. Called once, at the start of a process. */
void residue_heap(void);

/* Clears the blocks that this thread's spare.h keeps. */
void residue_spares(void);

/* Clears the stack below the caller, as deep as anything of ours goes. */
void residue_stack(void);

#endif
