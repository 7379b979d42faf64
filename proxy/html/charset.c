/*
 * charset.c - contract in consentd/charset.h.
 */
#include "consentd/charset.h"

#include "consentd/tag.h"
#include "consentd/tokenizer.h"
#include "names_priv.h"

/* Labels of the Encoding standard, 4.2, in lower case; what is not here is no label. */
static const char *const utf16le_labels[] = {
    "utf-16", "utf-16le", "ucs-2", "unicode", "unicodefeff", "csunicode", "iso-10646-ucs-2"};
static const char *const utf16be_labels[] = {"utf-16be", "unicodefffe"};
static const char *const refused_labels[] = {"iso-2022-jp", "csiso2022jp", "iso-2022-kr",
                                             "csiso2022kr", "iso-2022-cn", "iso-2022-cn-ext",
                                             "hz-gb-2312",  "replacement"};
/* Beginnings of the labels of ASCII-compatible encodings: each covers a family. */
static const char *const plain_labels[] = {"utf-8",
                                           "utf8",
                                           "unicode-1-1-utf-8",
                                           "unicode11utf8",
                                           "unicode20utf8",
                                           "x-unicode20utf8",
                                           "windows-",
                                           "x-cp125",
                                           "cp125",
                                           "iso-8859",
                                           "iso8859",
                                           "iso88598",
                                           "iso_8859",
                                           "latin",
                                           "l1",
                                           "l2",
                                           "l3",
                                           "l4",
                                           "l5",
                                           "l6",
                                           "l9",
                                           "ascii",
                                           "us-ascii",
                                           "ansi_x3.4-1968",
                                           "ibm819",
                                           "cp819",
                                           "ibm866",
                                           "866",
                                           "cp866",
                                           "csibm866",
                                           "koi",
                                           "cskoi8r",
                                           "macintosh",
                                           "mac",
                                           "x-mac-",
                                           "csmacintosh",
                                           "tis-620",
                                           "dos-874",
                                           "gb",
                                           "csgb",
                                           "chinese",
                                           "csiso58gb231280",
                                           "x-gbk",
                                           "big5",
                                           "cn-big5",
                                           "csbig5",
                                           "x-x-big5",
                                           "euc-",
                                           "cseuc",
                                           "x-euc-jp",
                                           "shift",
                                           "csshiftjis",
                                           "sjis",
                                           "ms_kanji",
                                           "ms932",
                                           "x-sjis",
                                           "ks_c_5601",
                                           "ksc",
                                           "korean",
                                           "csksc",
                                           "arabic",
                                           "asmo-708",
                                           "ecma-",
                                           "greek",
                                           "sun_eu_greek",
                                           "elot_928",
                                           "hebrew",
                                           "visual",
                                           "logical",
                                           "cyrillic",
                                           "csisolatin",
                                           "iso-ir-",
                                           "iso-celtic",
                                           "x-user-defined"};

static bool is_in(struct str label, const char *const *list, size_t cnt, bool prefix)
{
    for (size_t i = 0; i < cnt; i++) {
        if (prefix ? str_starts_fold(label, str_c(list[i])) : str_eq_fold_c(label, list[i]))
            return true;
    }
    return false;
}

static struct str trim(struct str s)
{
    while (s.len > 0 && ascii_is_space(s.ptr[0]))
        s = str_slice(s, 1, s.len);
    while (s.len > 0 && ascii_is_space(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

/* HTML_CHARSET_MORE: no label that a browser knows. */
static enum html_charset charset_of(struct str label)
{
    if (is_in(label, refused_labels, COUNT_OF(refused_labels), false))
        return HTML_CHARSET_REFUSE;
    if (is_in(label, utf16le_labels, COUNT_OF(utf16le_labels), false))
        return HTML_CHARSET_UTF16LE;
    if (is_in(label, utf16be_labels, COUNT_OF(utf16be_labels), false))
        return HTML_CHARSET_UTF16BE;
    return is_in(label, plain_labels, COUNT_OF(plain_labels), true) ? HTML_CHARSET_BYTES
                                                                    : HTML_CHARSET_MORE;
}

/* HTML 2.5.3: the label behind "charset=" in a content attribute. */
static struct str label_in_content(struct str s)
{
    for (size_t i = 0; i + 7 < s.len; i++) {
        struct str rest = str_slice(s, i, s.len);

        if (!str_starts_fold(rest, STR("charset")))
            continue;
        rest = trim(str_slice(rest, 7, rest.len));
        if (rest.len == 0 || rest.ptr[0] != '=')
            continue;
        rest = trim(str_slice(rest, 1, rest.len));
        if (rest.len > 0 && (rest.ptr[0] == '"' || rest.ptr[0] == '\'')) {
            ptrdiff_t end = str_find_char(str_slice(rest, 1, rest.len), rest.ptr[0]);

            return end < 0 ? STR("") : str_slice(rest, 1, (size_t)end);
        }
        for (size_t k = 0; k < rest.len; k++) {
            if (rest.ptr[k] == ';' || ascii_is_space(rest.ptr[k]))
                return str_slice(rest, 0, k);
        }
        return rest;
    }
    return STR("");
}

static struct str label_in_meta(struct str tag, uint32_t pos)
{
    struct str label = {0}, content = {0};
    bool content_type = false;
    struct tag_attr a;

    while (tag_next(tag, &pos, &a)) {
        struct str name = tag_attr_name(tag, &a);
        struct str value = tag_attr_value(tag, &a);

        if (str_eq_fold_c(name, "charset"))
            label = value;
        else if (str_eq_fold_c(name, "content"))
            content = label_in_content(value);
        else if (str_eq_fold_c(name, "http-equiv"))
            content_type = str_eq_fold_c(trim(value), "content-type");
    }
    if (label.len > 0)
        return trim(label);
    return content_type ? content : STR("");
}

/* HTML 13.2.3.4: tags and comments, no raw texts. */
static enum html_charset prescan(struct str first, struct str *label_out)
{
    const uint8_t *p = (const uint8_t *)first.ptr;
    struct tokenizer tok;
    size_t i = 0;

    tokenizer_init(&tok);
    while (i < first.len) {
        i = tokenizer_run(&tok, p, i, first.len);
        if (tok.event == TOK_TAG && !tok.is_end && tok.elem == ELEM_META) {
            struct str tag = str_slice(first, tok.start, i - tok.start);
            struct str label = label_in_meta(tag, (uint32_t)(tok.name_end - tok.start));
            enum html_charset found = charset_of(label);

            if (found == HTML_CHARSET_UTF16LE || found == HTML_CHARSET_UTF16BE)
                found = HTML_CHARSET_BYTES; /* a page that says so in ASCII is UTF-8 */
            if (found != HTML_CHARSET_MORE) {
                *label_out = label;
                return found;
            }
        }
    }
    return HTML_CHARSET_BYTES;
}

enum html_charset html_charset_sniff(struct str first, bool is_all, struct str http_label,
                                     struct str *label_out)
{
    struct str unused;
    enum html_charset found;

    if (label_out == NULL)
        label_out = &unused;
    *label_out = STR("");
    if (first.len < 3 && !is_all)
        return HTML_CHARSET_MORE;
    if (str_starts(first, STR("\xEF\xBB\xBF"))) {
        *label_out = STR("utf-8");
        return HTML_CHARSET_BYTES;
    }
    if (str_starts(first, STR("\xFF\xFE")))
        return HTML_CHARSET_UTF16LE;
    if (str_starts(first, STR("\xFE\xFF")))
        return HTML_CHARSET_UTF16BE;
    found = charset_of(trim(http_label));
    if (found != HTML_CHARSET_MORE) {
        *label_out = trim(http_label);
        return found;
    }
    if (first.len < HTML_PRESCAN_LEN && !is_all)
        return HTML_CHARSET_MORE;
    /* XML's way of saying UTF-16 without a mark: HTML 13.2.3.2 asks for it too. */
    if (str_starts(first, str_make("<\0?\0x\0", 6)))
        return HTML_CHARSET_UTF16LE;
    if (str_starts(first, str_make("\0<\0?\0x", 6)))
        return HTML_CHARSET_UTF16BE;
    return prescan(str_slice(first, 0, HTML_PRESCAN_LEN), label_out);
}

struct str html_charset_xml_label(struct str first)
{
    static const struct str word = {"encoding", 8};
    struct str decl;
    char quote;

    if (str_starts(first, STR("\xef\xbb\xbf")))
        first = str_slice(first, 3, first.len);
    if (!str_starts(first, STR("<?xml")) || !str_cut(&first, '>', &decl))
        return STR("");
    while (decl.len > word.len && !str_starts(decl, word))
        decl = str_slice(decl, 1, decl.len);
    decl = str_trim(str_slice(decl, word.len, decl.len));
    if (!str_starts(decl, STR("=")))
        return STR("");
    decl = str_trim(str_slice(decl, 1, decl.len));
    quote = decl.len > 0 ? decl.ptr[0] : '\0';
    if (quote != '"' && quote != '\'')
        return STR("");
    decl = str_slice(decl, 1, decl.len);
    for (size_t i = 0; i < decl.len; i++) {
        if (decl.ptr[i] == quote)
            return str_slice(decl, 0, i);
    }
    return STR("");
}
