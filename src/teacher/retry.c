/* retry.c: what to do about a call that brought no answer. */
#include "retry.h"

retry_verdict retry_status(int status)
{
    switch (status) {
    case 400: /* too long a prompt, a filter that objects: the request's own fault … */
    case 413:
    case 422: return RETRY_NOT;
    case 408: /* … the server was too slow, two requests collided, too early, too many */
    case 409:
    case 425:
    case 429: return RETRY_LATER;
    default: break;
    }
    /* Other 2xx, as a proxy might give, carry no answer now but may later; redirects and the other
     * 4xx (the key, the address, the model) are the same for every request. */
    return status >= 500 || (status >= 200 && status < 300) ? RETRY_LATER : RETRY_HOPELESS;
}

double retry_delay(double first, double longest, int attempt, double retry_after, uint64_t seed,
                   uint64_t call)
{
    rd_rng rng = rd_rng_make(seed, "teacher.backoff", call, (uint64_t)attempt);
    double most = first;
    for (int i = 1; i < attempt && most < longest; i++) most *= 2;
    if (most > longest) most = longest;
    return retry_after + most * rd_rng_uniform(&rng);
}
