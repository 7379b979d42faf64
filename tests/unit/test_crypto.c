/* Known answers, and that a changed byte is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "consentd/b64.h"
#include "consentd/crypto.h"

static void assert_hex(const uint8_t *bytes, size_t len, const char *hex)
{
    char text[2 * 64 + 1];

    hex_encode(text, bytes, len);
    assert_string_equal(text, hex);
}

/* FIPS 180-2 appendix B.1, RFC 4231 section 4.3. */
static void test_known_hashes(void **state)
{
    uint8_t out[32];
    struct str parts[] = {STR("what do ya want "), STR(""), STR("for nothing?")};
    struct crypto_hmac *h = crypto_hmac_new((const uint8_t *)"Jefe", 4);

    UNUSED(state);
    crypto_sha1("abc", 3, out);
    assert_hex(out, 20, "a9993e364706816aba3e25717850c26c9cd0d89d");
    crypto_sha256("abc", 3, out);
    assert_hex(out, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    for (int i = 0; i < 2; i++) { /* the context is used again */
        crypto_hmac(h, parts, 3, out);
        assert_hex(out, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
    crypto_hmac_free(h);
}

static void test_hash_in_pieces_interleaved(void **state)
{
    struct crypto_hash a, b;
    uint8_t one[32], two[32];

    UNUSED(state);
    crypto_sha256_init(&a);
    crypto_sha256_init(&b);
    crypto_sha256_update(&a, "ab", 2);
    crypto_sha256_update(&b, "abc", 3);
    crypto_sha256_update(&a, "c", 1);
    crypto_sha256_final(&a, one);
    crypto_sha256_final(&b, two);
    assert_memory_equal(one, two, 32);
}

/* RFC 3720 appendix B.4. */
static void test_crc32c(void **state)
{
    uint8_t zeros[32] = {0}, up[37];

    UNUSED(state);
    assert_int_equal(crypto_crc32c(0, zeros, 32), 0x8a9136aa);
    assert_int_equal(crypto_crc32c(0, "123456789", 9), 0xe3069283);
    for (unsigned i = 0; i < sizeof(up); i++)
        up[i] = (uint8_t)i;
    for (size_t len = 0; len <= sizeof(up); len++)
        assert_int_equal(crypto_crc32c(7, up, len), crypto_crc32c_table(7, up, len));
    assert_int_equal(crypto_crc32c(crypto_crc32c(0, up, 5), up + 5, 32), crypto_crc32c(0, up, 37));
}

static void test_gcm_finds_every_flipped_bit(void **state)
{
    uint8_t key[32] = {1}, nonce[12] = {2}, sealed[5 + 16], plain[5];

    UNUSED(state);
    assert_true(crypto_gcm_seal(key, nonce, STR("aad"), STR("hello"), sealed));
    assert_true(crypto_gcm_open(key, nonce, STR("aad"), str_make(sealed, sizeof(sealed)), plain));
    assert_memory_equal(plain, "hello", 5);
    assert_false(crypto_gcm_open(key, nonce, STR("aae"), str_make(sealed, sizeof(sealed)), plain));
    for (size_t bit = 0; bit < sizeof(sealed) * 8; bit++) {
        sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(
            crypto_gcm_open(key, nonce, STR("aad"), str_make(sealed, sizeof(sealed)), plain));
        sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_false(crypto_gcm_open(key, nonce, STR("aad"), str_make(sealed, 15), plain));
}

static void test_random_does_not_repeat(void **state)
{
    uint8_t a[5000], b[5000];

    UNUSED(state);
    crypto_random(a, sizeof(a));
    crypto_random(b, sizeof(b));
    assert_false(crypto_equal(a, b, sizeof(a)));
    assert_memory_not_equal(a, a + 2500, 16);
}

/* However a text is cut, and whenever its state is put away, the hash is that of the whole. */
static void test_sha256_part(void **state)
{
    uint8_t text[300], whole[32], got[32];

    UNUSED(state);
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (uint8_t)(i * 7);
    crypto_sha256(text, sizeof(text), whole);
    for (size_t cut = 0; cut <= sizeof(text); cut++) {
        struct crypto_sha256_part first, second;

        crypto_sha256_part_init(&first);
        crypto_sha256_part_update(&first, text, cut);
        memcpy(&second, &first, sizeof(second));
        crypto_sha256_part_update(&second, text + cut, sizeof(text) - cut);
        crypto_sha256_part_final(&second, got);
        assert_memory_equal(got, whole, 32);
    }
}

/* A child of fork makes secrets of its own. */
static void test_random_after_a_fork(void **state)
{
    uint8_t first[16], theirs[16] = {0}, ours[16];
    int ends[2];
    pid_t pid;

    (void)state;
    crypto_random(first, sizeof(first));
    assert_int_equal(pipe(ends), 0);
    pid = fork();
    if (pid == 0) {
        crypto_random(theirs, sizeof(theirs));
        _exit(write(ends[1], theirs, sizeof(theirs)) == (ssize_t)sizeof(theirs) ? 0 : 1);
    }
    assert_int_equal(read(ends[0], theirs, sizeof(theirs)), (ssize_t)sizeof(theirs));
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    crypto_random(ours, sizeof(ours));
    assert_memory_not_equal(ours, theirs, sizeof(ours));
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256_part),
        cmocka_unit_test(test_known_hashes),
        cmocka_unit_test(test_hash_in_pieces_interleaved),
        cmocka_unit_test(test_crc32c),
        cmocka_unit_test(test_gcm_finds_every_flipped_bit),
        cmocka_unit_test(test_random_does_not_repeat),
        cmocka_unit_test(test_random_after_a_fork),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
