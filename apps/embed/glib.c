/* SPDX-License-Identifier: MIT */
/* Ropewalk in a GLib main loop, as a GSource: it is dispatched when rw_fd is
 * readable or rw_timeout is over, beside the program's own timers and sources.
 *
 *      glib SCRIPT            ends by SIGTERM or SIGINT */
#include <glib-unix.h>
#include <glib.h>
#include <ropewalk.h>

struct server_source {
    GSource base;
    struct rw *rw;
    gpointer tag; /* of the descriptor */
    GMainLoop *loop;
};

static gboolean prepare(GSource *source, gint *timeout) {
    struct server_source *s = (struct server_source *)source;
    *timeout = rw_timeout(s->rw);
    return *timeout == 0;
}

static gboolean check(GSource *source) {
    struct server_source *s = (struct server_source *)source;
    return g_source_query_unix_fd(source, s->tag) != 0 || rw_timeout(s->rw) == 0;
}

static gboolean dispatch(GSource *source, GSourceFunc callback, gpointer data) {
    struct server_source *s = (struct server_source *)source;
    (void)callback, (void)data;
    if (rw_step(s->rw, 0)) return G_SOURCE_CONTINUE;
    g_main_loop_quit(s->loop);
    return G_SOURCE_REMOVE;
}

static void finalize(GSource *source) {
    rw_free(&((struct server_source *)source)->rw);
}

static GSourceFuncs functions = {prepare, check, dispatch, finalize, NULL, NULL};

static guint ticks;

static gboolean on_tick(gpointer data) {
    (void)data;
    ticks++;
    return G_SOURCE_CONTINUE;
}

/* rw.host.ticks(): how often GLib's own timer has fired */
static int host_ticks(void *owner, const struct rw_value *args, size_t n,
                      struct rw_value *result) {
    (void)owner, (void)args, (void)n;
    *result = rw_integer(ticks);
    return 0;
}

static gboolean on_signal(gpointer data) {
    rw_stop(data);
    return G_SOURCE_CONTINUE;
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    const char *error;
    struct rw *rw = rw_new(&(struct rw_options){.app = argv[1]}, &error);
    if (!rw) {
        g_printerr("%s\n", error);
        return 2;
    }
    rw_register(rw, "ticks", host_ticks, NULL);

    struct server_source *s =
        (struct server_source *)g_source_new(&functions, sizeof(struct server_source));
    s->rw = rw;
    s->loop = g_main_loop_new(NULL, FALSE);
    s->tag = g_source_add_unix_fd(&s->base, rw_fd(rw), G_IO_IN);
    g_source_attach(&s->base, NULL);
    g_timeout_add(10, on_tick, NULL);
    g_unix_signal_add(SIGTERM, on_signal, rw);
    g_unix_signal_add(SIGINT, on_signal, rw);

    rw_start(rw);
    g_main_loop_run(s->loop);
    int status = rw_status(rw);
    g_main_loop_unref(s->loop);
    g_source_unref(&s->base); /* frees the instance */
    return status == 0 ? 0 : 1;
}
