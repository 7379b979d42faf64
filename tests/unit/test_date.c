/*
 * Dates: what is written is read back, in all three forms, and nothing else is a date.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "consentd/date.h"

#define NOW    1764000000 /* in November 2025 */
#define SAMPLE 784111777  /* the example of RFC 9110 5.6.7 */

static void check(const char *text, int64_t want)
{
    int64_t got = -1;

    assert_true(date_parse(str_c(text), NOW, &got));
    assert_int_equal(got, want);
}

static void check_bad(const char *text)
{
    int64_t got = -7;

    if (date_parse(str_c(text), NOW, &got))
        print_error("accepted: %s\n", text);
    assert_int_equal(got, -7);
}

static void test_three_forms(void **state)
{
    (void)state;
    check("Sun, 06 Nov 1994 08:49:37 GMT", SAMPLE);
    check("Sunday, 06-Nov-94 08:49:37 GMT", SAMPLE);
    check("Sun Nov  6 08:49:37 1994", SAMPLE);
    check("Wed Nov 16 08:49:37 1994", SAMPLE + 10 * 86400);
    check("Wednesday, 16-Nov-94 08:49:37 GMT", SAMPLE + 10 * 86400);
}

static void test_every_day_of_a_century(void **state)
{
    static const char *const days[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                       "Thursday", "Friday", "Saturday"};

    (void)state;
    for (int64_t at = 86399; at < INT64_C(36525) * 86400; at += 86400) {
        char text[DATE_LEN + 1];
        char other[64];
        char name[4] = "";
        time_t second = at;
        struct tm tm;

        date_format(at, text);
        assert_non_null(gmtime_r(&second, &tm));
        strftime(other, sizeof(other), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        assert_string_equal(text, other);
        check(text, at);
        strftime(other, sizeof(other), "%a %b %e %H:%M:%S %Y", &tm);
        check(other, at);
        if (at < NOW - INT64_C(40) * 366 * 86400 || at > NOW + INT64_C(40) * 366 * 86400)
            continue;              /* two digits would mean another century */
        memcpy(name, text + 8, 3); /* the month */
        snprintf(other, sizeof(other), "%s, %02d-%s-%02d %.8s GMT", days[tm.tm_wday], tm.tm_mday,
                 name, tm.tm_year % 100, text + 17);
        check(other, at);
    }
}

static void test_two_digit_years(void **state)
{
    (void)state;
    check("Monday, 01-Jan-70 00:00:00 GMT", INT64_C(3155760000)); /* 2070: not yet 50 years */
    check("Friday, 01-Jan-77 00:00:00 GMT", 220924800);           /* 1977 */
    check("Tuesday, 01-Jan-80 00:00:00 GMT", 315532800);
    check("Saturday, 01-Jan-00 00:00:00 GMT", 946684800);
}

static void test_clamped_and_leap(void **state)
{
    char text[DATE_LEN + 1];

    (void)state;
    date_format(-5, text);
    assert_string_equal(text, "Thu, 01 Jan 1970 00:00:00 GMT");
    date_format(INT64_MAX, text);
    assert_string_equal(text, "Fri, 31 Dec 9999 23:59:59 GMT");
    check("Tue, 29 Feb 2000 00:00:00 GMT", 951782400);
    check("Sat, 31 Dec 2016 23:59:60 GMT", 1483228799); /* a leap second is the one before */
    check_bad("Wed, 29 Feb 1900 00:00:00 GMT");
    check_bad("Sat, 29 Feb 2025 00:00:00 GMT");
}

static void test_anything_else_is_no_date(void **state)
{
    static const char *const bad[] = {
        "",
        "0",
        "-1",
        "now",
        "Sun",
        "Sun,",
        "Sun, 06 Nov 1994",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        " Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun,  06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 8:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 32 Oct 1994 08:49:37 GMT",
        "Xyz, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06-Nov-1994 08:49:37 GMT",
        "Sun, 06 Nov -994 08:49:37 GMT",
        "Sundays, 06-Nov-94 08:49:37 GMT",
        "Sunxyz, 06-Nov-94 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sunday, 06 Nov 94 08:49:37 GMT",
        "Sunday 06-Nov-94 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov 006 08:49:37 1994",
        "Sun Nov  6 08:49:37 94",
        "Sun Nov  6 08:49:37 1994 GMT",
        "Sun Nov  0 08:49:37 1994",
        "Sun, 06 Nov 1994 08:49:3\x80 GMT",
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        check_bad(bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_forms),
        cmocka_unit_test(test_every_day_of_a_century),
        cmocka_unit_test(test_two_digit_years),
        cmocka_unit_test(test_clamped_and_leap),
        cmocka_unit_test(test_anything_else_is_no_date),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
