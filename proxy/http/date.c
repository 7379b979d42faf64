/*
 * date.c - contract in consentd/date.h. Days are counted by the civil calendar, no time zone.
 */
#include "consentd/date.h"

#include <string.h>

#include "consentd/str.h"

#define DAY_S          86400
#define YEAR_9999_S    253402300799 /* its last second */
#define HALF_CENTURY_S (50LL * 365 * DAY_S)

static const char days[] = "SunMonTueWedThuFriSat";
static const char day_ends[7][7] = {"day", "day", "sday", "nesday", "rsday", "day", "urday"};
static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

struct civil {
    int64_t year;
    unsigned month, day; /* 1-12, 1-31 */
};

/* Days since 1970-01-01 and back, proleptic Gregorian; eras of 400 years begin in March. */
static int64_t days_from_civil(struct civil c)
{
    int64_t year = c.month <= 2 ? c.year - 1 : c.year;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t of_era = year - era * 400;
    int64_t of_year =
        (153 * (int64_t)(c.month > 2 ? c.month - 3 : c.month + 9) + 2) / 5 + c.day - 1;

    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static struct civil civil_from_days(int64_t day)
{
    int64_t shifted = day + 719468;
    int64_t era = shifted / 146097;
    int64_t of_era = shifted - era * 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * of_year + 2) / 153;
    struct civil c = {.day = (unsigned)(of_year - (153 * month + 2) / 5 + 1),
                      .month = (unsigned)(month < 10 ? month + 3 : month - 9)};

    c.year = year + era * 400 + (c.month <= 2);
    return c;
}

static void put_number(char *out, uint64_t value, size_t digits)
{
    while (digits > 0) {
        out[--digits] = (char)('0' + value % 10);
        value /= 10;
    }
}

void date_format(int64_t time_s, char out[DATE_LEN + 1])
{
    int64_t at = time_s < 0 ? 0 : time_s > YEAR_9999_S ? YEAR_9999_S : time_s;
    int64_t day = at / DAY_S;
    uint64_t second = (uint64_t)(at % DAY_S);
    struct civil c = civil_from_days(day);

    memcpy(out, "Sun, 00 Jan 0000 00:00:00 GMT", DATE_LEN + 1);
    memcpy(out, days + (day + 4) % 7 * 3, 3); /* 1970-01-01 was a Thursday */
    put_number(out + 5, c.day, 2);
    memcpy(out + 8, months + (size_t)(c.month - 1) * 3, 3);
    put_number(out + 12, (uint64_t)c.year, 4);
    put_number(out + 17, second / 3600, 2);
    put_number(out + 20, second / 60 % 60, 2);
    put_number(out + 23, second % 60, 2);
}

/* --- parsing: a cursor that fails once and for all --- */

struct cursor {
    struct str rest;
    bool ok;
};

static void expect(struct cursor *c, const char *text)
{
    size_t len = strlen(text);

    c->ok = c->ok && str_starts(c->rest, str_make(text, len));
    if (c->ok)
        c->rest = str_slice(c->rest, len, c->rest.len);
}

static uint64_t number(struct cursor *c, size_t digits)
{
    uint64_t value = 0;

    c->ok =
        c->ok && c->rest.len >= digits && str_to_u64(str_slice(c->rest, 0, digits), 9999, &value);
    if (c->ok)
        c->rest = str_slice(c->rest, digits, c->rest.len);
    return value;
}

/* One of the names of `len` bytes in a table of three-letter ones; its number from 0. */
static unsigned name_of(struct cursor *c, const char *table)
{
    size_t cnt = strlen(table) / 3;

    for (unsigned i = 0; c->ok && i < cnt; i++) {
        if (str_starts(c->rest, str_make(table + (size_t)i * 3, 3))) {
            c->rest = str_slice(c->rest, 3, c->rest.len);
            return i;
        }
    }
    c->ok = false;
    return 0;
}

static uint64_t clock_time(struct cursor *c)
{
    uint64_t hour = number(c, 2);
    uint64_t minute, second;

    expect(c, ":");
    minute = number(c, 2);
    expect(c, ":");
    second = number(c, 2);
    c->ok = c->ok && hour < 24 && minute < 60 && second <= 60; /* 60: a leap second */
    return hour * 3600 + minute * 60 + (second < 60 ? second : 59);
}

static int64_t finish(struct cursor *c, struct civil date, uint64_t second)
{
    struct civil back;
    int64_t day;

    c->ok = c->ok && date.day >= 1 && c->rest.len == 0;
    if (!c->ok)
        return 0;
    day = days_from_civil(date);
    back = civil_from_days(day);
    c->ok = back.day == date.day && back.month == date.month; /* no 31 June */
    return day * DAY_S + (int64_t)second;
}

/* Sun, 06 Nov 1994 08:49:37 GMT */
static int64_t imf(struct cursor *c)
{
    struct civil date;
    uint64_t second;

    name_of(c, days);
    expect(c, ", ");
    date.day = (unsigned)number(c, 2);
    expect(c, " ");
    date.month = name_of(c, months) + 1;
    expect(c, " ");
    date.year = (int64_t)number(c, 4);
    expect(c, " ");
    second = clock_time(c);
    expect(c, " GMT");
    return finish(c, date, second);
}

/* Sunday, 06-Nov-94 08:49:37 GMT */
static int64_t rfc850(struct cursor *c, int64_t now_s)
{
    struct civil date;
    struct civil now = civil_from_days(now_s < 0 ? 0 : now_s / DAY_S);
    uint64_t second;
    int64_t at;

    expect(c, day_ends[name_of(c, days)]);
    expect(c, ", ");
    date.day = (unsigned)number(c, 2);
    expect(c, "-");
    date.month = name_of(c, months) + 1;
    expect(c, "-");
    date.year = now.year / 100 * 100 + (int64_t)number(c, 2);
    expect(c, " ");
    second = clock_time(c);
    expect(c, " GMT");
    at = finish(c, date, second);
    if (c->ok && at > now_s + HALF_CENTURY_S) { /* RFC 9110 5.6.7: then it is in the past */
        date.year -= 100;
        at = finish(c, date, second);
    }
    return at;
}

/* Sun Nov  6 08:49:37 1994 */
static int64_t asctime_form(struct cursor *c)
{
    struct civil date;
    uint64_t second;

    name_of(c, days);
    expect(c, " ");
    date.month = name_of(c, months) + 1;
    expect(c, " ");
    if (c->ok && c->rest.len > 0 && c->rest.ptr[0] == ' ') {
        expect(c, " ");
        date.day = (unsigned)number(c, 1);
    } else {
        date.day = (unsigned)number(c, 2);
    }
    expect(c, " ");
    second = clock_time(c);
    expect(c, " ");
    date.year = (int64_t)number(c, 4);
    return finish(c, date, second);
}

bool date_parse(struct str in, int64_t now_s, int64_t *time_s_out)
{
    struct cursor c = {in, true};
    ptrdiff_t comma = str_find_char(in, ',');
    int64_t at;

    if (comma == 3)
        at = imf(&c);
    else if (comma > 3)
        at = rfc850(&c, now_s);
    else
        at = asctime_form(&c);
    if (c.ok)
        *time_s_out = at;
    return c.ok;
}
