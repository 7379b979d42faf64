/*
 * scan_report.c - the files of a report.
 */
#include <stdlib.h>
#include <string.h>

#include "consentd/b64.h"
#include "consentd/file.h"
#include "scan_priv.h"

#define IMAGE_MAX  (32u << 20)
#define REPORT_MAX (256u << 20)

/* DIR/STATE.jpg of one visit; its "image" becomes the file's name in the JSON that is written. */
static bool write_image(const char *dir, json_t *visit, struct fault *f)
{
    const char *image = scan_text(visit, "image");
    struct buf bytes, name;
    char *path = NULL;
    bool ok;

    buf_init(&bytes, IMAGE_MAX);
    buf_init(&name, 256);
    ok = buf_printf(&name, "%s.jpg", scan_text(visit, "state")) && b64_decode(str_c(image), &bytes);
    if (!ok)
        fault_set(f, "the image of the state \"%s\" cannot be read", scan_text(visit, "state"));
    if (ok) {
        path = file_resolve(dir, buf_cstr(&name));
        ok = file_write_atomic(path, bytes.data, bytes.len, 0644, f);
        json_object_set_new(visit, "image", json_string(buf_cstr(&name)));
    }
    free(path);
    buf_free(&bytes);
    buf_free(&name);
    return ok;
}

static bool write_text(const char *dir, const char *name, struct str text, struct fault *f)
{
    char *path = file_resolve(dir, name);
    bool ok = file_write_atomic(path, text.ptr, text.len, 0644, f);

    free(path);
    return ok;
}

bool scan_write(const char *dir, json_t *report, struct fault *f)
{
    json_t *visits = json_object_get(report, "visits");
    struct buf html;
    char *text = NULL;
    bool ok = file_make_dirs(dir, 0755, f);

    buf_init(&html, REPORT_MAX);
    if (ok && !scan_html(report, &html)) {
        fault_set(f, "the report is larger than %u bytes", REPORT_MAX);
        ok = false;
    }
    ok = ok && write_text(dir, "report.html", buf_str(&html), f);
    for (size_t i = 0; ok && i < json_array_size(visits); i++)
        ok = write_image(dir, json_array_get(visits, i), f);
    if (ok)
        text = json_dumps(report, JSON_INDENT(1));
    ok = ok && text != NULL && write_text(dir, "report.json", str_c(text), f);
    free(text);
    buf_free(&html);
    return ok;
}
