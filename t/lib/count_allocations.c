/* Loaded with LD_PRELOAD: counts heap allocations into the file that COUNT_ALLOCATIONS names,
 * where a test reads them while the process runs. The nginx worker has one thread. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* glibc's own names of what is defined below */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static uint64_t before_main;
static uint64_t *allocations = &before_main;

__attribute__((constructor)) static void share(void) {
    const char *path = getenv("COUNT_ALLOCATIONS");
    int file = path ? open(path, O_RDWR | O_CREAT | O_TRUNC, 0600) : -1;
    if (file < 0) {
        return;
    }
    if (ftruncate(file, sizeof *allocations) == 0) {
        void *shared = mmap(NULL, sizeof *allocations, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (shared != MAP_FAILED) {
            allocations = shared;
        }
    }
    close(file);
}

void *malloc(size_t size) {
    ++*allocations;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    ++*allocations;
    return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size) {
    ++*allocations;
    return __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    ++*allocations;
    return __libc_memalign(alignment, size);
}

void *memalign(size_t alignment, size_t size) {
    return aligned_alloc(alignment, size);
}

int posix_memalign(void **result, size_t alignment, size_t size) {
    void *block = aligned_alloc(alignment, size);
    if (block == NULL) {
        return ENOMEM;
    }
    *result = block;
    return 0;
}
