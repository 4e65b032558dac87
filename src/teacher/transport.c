/* transport.c: requests over HTTP, many at a time, through libcurl's multi interface.
 *
 * One easy handle per place, used again and again, so that connections stay open.  The key is held
 * by libcurl's list of headers and in one copy here, with which it is blotted out of everything
 * that comes back: a server that quotes it must not bring it into a journal or a message. */
#include "transport.h"

#include <curl/curl.h>
#include <string.h>

enum { BODY_LIMIT = 16 << 20, CONNECT_SECONDS = 30 };

typedef struct place {
    CURL *easy;
    rd_buf body;
    char failure[CURL_ERROR_SIZE];
    bool too_long;
} place;

struct transport {
    CURLM *multi;
    struct curl_slist *headers;
    char *key, *url, *proxy;
    double timeout;
    int n;
    int under_way; /* started and not handed out */
    place *place;
};

static size_t on_body(char *bytes, size_t size, size_t n, void *user)
{
    place *p = user;
    (void)size; /* is 1 */
    if (p->body.len + n > BODY_LIMIT) {
        p->too_long = true;
        return 0;
    }
    rd_buf_add(&p->body, bytes, n);
    return n;
}

static int set_up(const transport *t, place *p)
{
    int rc = RD_OK;
    long ms = (long)(t->timeout * 1000);
    p->easy = curl_easy_init();
    if (!p->easy) rd_die("libcurl gives no handle");
    CURL *e = p->easy;
    CURLcode bad = curl_easy_setopt(e, CURLOPT_URL, t->url);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_PROXY, t->proxy);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_HTTPHEADER, t->headers);
    if (bad) RD_FAIL(RD_EINPUT, "teacher.url: %s", curl_easy_strerror(bad));
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L); /* the key goes nowhere else */
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, ms > 0 ? ms : 1);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(e, CURLOPT_USERAGENT, "redistill");
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, p->failure);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, p);
    curl_easy_setopt(e, CURLOPT_PRIVATE, p);
    curl_easy_setopt(e, CURLOPT_POST, 1L);
done:
    return rc;
}

static struct curl_slist *make_headers(const char *key)
{
    rd_buf line = {0};
    struct curl_slist *h = curl_slist_append(NULL, "Content-Type: application/json");
    h = curl_slist_append(h, "Accept: application/json");
    h = curl_slist_append(h, "Expect:"); /* no waiting for "100 Continue" */
    if (key && *key) {
        rd_buf_printf(&line, "Authorization: Bearer %s", key);
        h = curl_slist_append(h, line.data);
        memset(line.data, 0, line.len);
    }
    rd_buf_free(&line);
    return h;
}

int transport_create(const transport_opts *o, transport **made)
{
    int rc = RD_OK;
    *made = NULL;
    if (curl_global_init(CURL_GLOBAL_DEFAULT)) rd_die("libcurl cannot be initialised");
    transport *t = rd_new(transport, 1);
    t->multi = curl_multi_init();
    t->headers = make_headers(o->key);
    t->key = o->key && *o->key ? rd_strdup(o->key) : NULL;
    t->url = rd_strdup(o->url);
    t->proxy = rd_strdup(o->proxy);
    t->timeout = o->timeout;
    t->n = o->places;
    t->place = rd_new(place, o->places);
    curl_multi_setopt(t->multi, CURLMOPT_MAXCONNECTS, (long)o->places);
    RD_TRY(set_up(t, &t->place[0])); /* the others when they are needed */
    *made = t;
    t = NULL;
done:
    transport_free(&t);
    return rc;
}

void transport_free(transport **transport_)
{
    transport *t = *transport_;
    *transport_ = NULL;
    if (!t) return;
    for (int i = 0; i < t->n; i++) {
        if (!t->place[i].easy) continue;
        curl_multi_remove_handle(t->multi, t->place[i].easy);
        curl_easy_cleanup(t->place[i].easy);
        rd_buf_free(&t->place[i].body);
    }
    curl_multi_cleanup(t->multi);
    curl_slist_free_all(t->headers);
    if (t->key) explicit_bzero(t->key, strlen(t->key));
    rd_free(t->key);
    rd_free(t->url);
    rd_free(t->proxy);
    rd_free(t->place);
    rd_free(t);
    curl_global_cleanup();
}

int transport_start(transport *t, int where, const char *body, size_t n)
{
    int rc = RD_OK;
    place *p = &t->place[where];
    if (!p->easy) RD_TRY(set_up(t, p));
    rd_buf_clear(&p->body);
    p->failure[0] = 0;
    p->too_long = false;
    curl_easy_setopt(p->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)n);
    CURLcode bad = curl_easy_setopt(p->easy, CURLOPT_COPYPOSTFIELDS, body);
    CURLMcode wrong = bad ? CURLM_OK : curl_multi_add_handle(t->multi, p->easy);
    if (bad || wrong)
        RD_FAIL(RD_EINTERNAL, "libcurl: %s",
                bad ? curl_easy_strerror(bad) : curl_multi_strerror(wrong));
    t->under_way++;
done:
    return rc;
}

int transport_wait(transport *t, double seconds)
{
    int rc = RD_OK, running = 0;
    CURLMcode bad = curl_multi_perform(t->multi, &running);
    if (!bad && seconds > 0 && running == t->under_way) { /* else one has ended */
        bad = curl_multi_poll(t->multi, NULL, 0, (int)(seconds * 1000) + 1, NULL);
        if (!bad) bad = curl_multi_perform(t->multi, &running);
    }
    if (bad) RD_FAIL(RD_EINTERNAL, "libcurl: %s", curl_multi_strerror(bad));
done:
    return rc;
}

void transport_blot(const transport *t, char *text, size_t n)
{
    size_t len = t->key ? strlen(t->key) : 0;
    for (char *p = text; len > 0 && (p = memmem(p, n - (size_t)(p - text), t->key, len));)
        memset(p, '*', len);
}

static bool is_hopeless(CURLcode code)
{
    switch (code) {
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE: return true;
    default: return false;
    }
}

bool transport_done(transport *t, transport_reply *r)
{
    int left = 0;
    CURLMsg *m = curl_multi_info_read(t->multi, &left);
    if (!m) return false;
    CURLcode code = m->data.result;
    CURL *easy = m->easy_handle;
    char *user = NULL;
    long status = 0;
    curl_off_t wait = 0;
    curl_multi_remove_handle(t->multi, easy);
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &user);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &wait);
    place *p = (place *)(void *)user;
    t->under_way--;
    *r = (transport_reply){.place = (int)(p - t->place),
                           .arrived = code == CURLE_OK,
                           .hopeless = is_hopeless(code),
                           .status = code == CURLE_OK ? (int)status : 0,
                           .retry_after = wait > 0 ? (double)wait : 0,
                           .body = &p->body};
    if (code != CURLE_OK) {
        if (!p->failure[0]) snprintf(p->failure, sizeof p->failure, "%s", curl_easy_strerror(code));
        if (p->too_long) snprintf(p->failure, sizeof p->failure, "a response without end");
        r->failure = p->failure;
    }
    transport_blot(t, p->body.data, p->body.len);
    transport_blot(t, p->failure, strlen(p->failure));
    return true;
}
