#include "torture.h"
const struct test filter_tests[] = {{0}};
