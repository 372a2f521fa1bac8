/* The daemon's secret. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>

#include "base/error.h"
#include "memory/secret.h"
#include "tests/memory/scratch.h"

static struct scratch folder;

static int setup(void **state) {
        (void)state;
        scratch_make(&folder);
        return 0;
}

static int teardown(void **state) {
        (void)state;
        scratch_remove(&folder);
        return 0;
}

static void it_is_made_once_for_its_user_alone(void **state) {
        (void)state;
        struct page_key first, second;
        struct error err = { 0 };
        umask(0);
        assert_int_equal(secret_open(folder.path, &first, &err), 0);
        assert_int_equal(secret_open(folder.path, &second, &err), 0);
        assert_memory_equal(&first, &second, sizeof(first));
        struct stat st;
        assert_int_equal(stat(scratch_file(&folder, "secret"), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_equal(st.st_size, 32);
        static const struct page_key zero;
        assert_memory_not_equal(&first, &zero, sizeof(first));
}

static void an_unfinished_one_is_made_anew(void **state) {
        (void)state;
        int fd = open(scratch_file(&folder, "secret.new"), O_WRONLY | O_CREAT, 0600);
        assert_int_equal(write(fd, "half", 4), 4);
        close(fd);
        struct page_key key;
        struct error err = { 0 };
        assert_int_equal(secret_open(folder.path, &key, &err), 0);
        assert_int_equal(access(scratch_file(&folder, "secret.new"), F_OK), -1);
}

static void one_that_others_may_read_is_refused(void **state) {
        (void)state;
        struct page_key key;
        struct error err = { 0 };
        assert_int_equal(secret_open(folder.path, &key, &err), 0);
        assert_int_equal(chmod(scratch_file(&folder, "secret"), 0640), 0);
        assert_int_equal(secret_open(folder.path, &key, &err), -EPERM);
        assert_non_null(strstr(err.text, "secret: others may use it (mode 640, not 600)"));
}

static void one_of_another_size_is_refused(void **state) {
        (void)state;
        struct page_key key;
        struct error err = { 0 };
        for (off_t size = 0; size < 40; size += 31) {
                assert_int_equal(secret_open(folder.path, &key, &err), 0);
                assert_int_equal(truncate(scratch_file(&folder, "secret"), size), 0);
                assert_int_equal(secret_open(folder.path, &key, &err), -EINVAL);
                assert_non_null(strstr(err.text, "bytes, not 32"));
                assert_int_equal(unlink(scratch_file(&folder, "secret")), 0);
        }
}

static void a_missing_folder_and_a_link_are_refused(void **state) {
        (void)state;
        struct page_key key;
        struct error err = { 0 };
        assert_int_equal(secret_open(scratch_file(&folder, "none"), &key, &err), -ENOENT);
        assert_int_equal(symlink("/dev/zero", scratch_file(&folder, "secret")), 0);
        assert_int_equal(secret_open(folder.path, &key, &err), -ELOOP);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(it_is_made_once_for_its_user_alone, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(an_unfinished_one_is_made_anew, setup, teardown),
                cmocka_unit_test_setup_teardown(one_that_others_may_read_is_refused, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(one_of_another_size_is_refused, setup, teardown),
                cmocka_unit_test_setup_teardown(a_missing_folder_and_a_link_are_refused, setup,
                                                teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
