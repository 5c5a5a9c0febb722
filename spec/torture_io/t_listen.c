#include "torture.h"
const struct test listen_tests[] = {{0}};
