#include "torture.h"
const struct test file_tests[] = {{0}};
