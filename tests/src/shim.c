/* C code that calls back, and C code that needs a deep stack. */

#include <string.h>

void gort_test_call(void (*f)(void *), void *arg) {
    f(arg);
}

/* Returns to a frame whose contents it has noted before: was the stack left alone? */
int gort_test_call_between(void (*f)(void *), void *arg, unsigned char mark) {
    volatile unsigned char frame[4096];
    for (unsigned i = 0; i < sizeof frame; i++)
        frame[i] = mark;
    f(arg);
    for (unsigned i = 0; i < sizeof frame; i++)
        if (frame[i] != mark)
            return 0;
    return 1;
}

/* Uses `kib` KiB of stack, a KiB a frame, and calls `f` at the bottom if there is one. */
unsigned gort_test_deep(unsigned kib, void (*f)(void *), void *arg) {
    volatile char frame[1024];
    memset((char *)frame, (int)kib, sizeof frame);
    unsigned below = 0;
    if (kib > 1)
        below = gort_test_deep(kib - 1, f, arg);
    else if (f)
        f(arg);
    return below + (frame[kib % sizeof frame] == (char)kib);
}
