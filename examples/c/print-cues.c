/* SPDX-License-Identifier: MPL-2.0
 *
 * Prints the speech of a media file, one timed cue a line.
 *
 *   gcc -Wall print-cues.c -o print-cues $(pkg-config --cflags --libs gstreamer-app-1.0)
 *   ./print-cues MEDIA_FILE [MODEL]
 */

#include <gst/app/gstappsink.h>
#include <gst/gst.h>

static const char PIPELINE[] =
    "filesrc name=source ! decodebin ! audioconvert ! audioresample "
    "! whispernpu name=recogniser ! appsink name=cues sync=false caps=text/x-raw,format=utf8";

typedef struct
{
  GMainLoop *loop;
  gboolean failed;
} Player;

static void
print_time (GstClockTime time)
{
  guint64 ms = time / GST_MSECOND;

  g_print ("%" G_GUINT64_FORMAT ":%02u:%02u.%03u", ms / 3600000,
      (guint) (ms / 60000 % 60), (guint) (ms / 1000 % 60), (guint) (ms % 1000));
}

/* Called from a streaming thread: an application with a window hands the text over to its own thread here. */
static GstFlowReturn
on_new_sample (GstAppSink * sink, gpointer user_data)
{
  GstSample *sample = gst_app_sink_pull_sample (sink);
  GstBuffer *buffer;
  GstClockTime start;
  GstMapInfo map;

  (void) user_data;
  if (sample == NULL)
    return GST_FLOW_EOS;

  buffer = gst_sample_get_buffer (sample);
  /* The segment says which place in the file a buffer's time stamp means. */
  start = gst_segment_to_stream_time (gst_sample_get_segment (sample), GST_FORMAT_TIME, GST_BUFFER_PTS (buffer));
  if (!GST_CLOCK_TIME_IS_VALID (start) || !GST_BUFFER_DURATION_IS_VALID (buffer)
      || !gst_buffer_map (buffer, &map, GST_MAP_READ)) {
    gst_sample_unref (sample);
    return GST_FLOW_ERROR;
  }

  /* A text buffer is not NUL-terminated. */
  gchar *text = g_strndup ((const gchar *) map.data, map.size);
  g_strdelimit (text, "\n", ' ');
  g_print ("[");
  print_time (start);
  g_print (" --> ");
  print_time (start + GST_BUFFER_DURATION (buffer));
  g_print ("] %s\n", text);

  g_free (text);
  gst_buffer_unmap (buffer, &map);
  gst_sample_unref (sample);
  return GST_FLOW_OK;
}

static gboolean
on_bus_message (GstBus * bus, GstMessage * message, gpointer user_data)
{
  Player *player = user_data;
  GError *error = NULL;
  gchar *debug = NULL;

  (void) bus;
  switch (GST_MESSAGE_TYPE (message)) {
    case GST_MESSAGE_EOS:
      g_main_loop_quit (player->loop);
      break;
    case GST_MESSAGE_ERROR:
      gst_message_parse_error (message, &error, &debug);
      g_printerr ("%s (%s)\n", error->message, debug ? debug : "");
      player->failed = TRUE;
      g_main_loop_quit (player->loop);
      break;
    case GST_MESSAGE_WARNING:
      gst_message_parse_warning (message, &error, &debug);
      g_printerr ("warning: %s\n", error->message);
      break;
    default:
      break;
  }
  g_clear_error (&error);
  g_free (debug);
  return G_SOURCE_CONTINUE;
}

static void
set_string (GstElement * pipeline, const char *name, const char *property, const char *value)
{
  GstElement *element = gst_bin_get_by_name (GST_BIN (pipeline), name);

  g_object_set (element, property, value, NULL);
  gst_object_unref (element);
}

int
main (int argc, char **argv)
{
  GstAppSinkCallbacks callbacks = { .new_sample = on_new_sample };
  Player player = { NULL, FALSE };
  GstElement *pipeline, *cues;
  GError *error = NULL;
  GstBus *bus;

  gst_init (&argc, &argv);
  if (argc < 2 || argc > 3) {
    g_printerr ("usage: %s MEDIA_FILE [MODEL]\n", argv[0]);
    return 2;
  }

  /* FATAL_ERRORS: a missing element is an error here, not a pipeline with a hole. */
  pipeline = gst_parse_launch_full (PIPELINE, NULL, GST_PARSE_FLAG_FATAL_ERRORS, &error);
  if (pipeline == NULL) {
    g_printerr ("%s\n", error->message);
    g_clear_error (&error);
    return 1;
  }
  set_string (pipeline, "source", "location", argv[1]);
  if (argc == 3)
    set_string (pipeline, "recogniser", "model", argv[2]);

  cues = gst_bin_get_by_name (GST_BIN (pipeline), "cues");
  gst_app_sink_set_callbacks (GST_APP_SINK (cues), &callbacks, NULL, NULL);
  gst_object_unref (cues);

  player.loop = g_main_loop_new (NULL, FALSE);
  bus = gst_pipeline_get_bus (GST_PIPELINE (pipeline));
  gst_bus_add_watch (bus, on_bus_message, &player);

  /* A failed state change has its reason on the bus, so the loop reports it. */
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  g_main_loop_run (player.loop);

  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_bus_remove_watch (bus);
  gst_object_unref (bus);
  gst_object_unref (pipeline);
  g_main_loop_unref (player.loop);
  return player.failed ? 1 : 0;
}
