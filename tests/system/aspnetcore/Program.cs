// An ASP.NET Core app as its users write them: WebApplication.CreateBuilder, which brings UseIISIntegration, and one
// handler that tells what it sees. Nothing in it knows of Portico. C# 7, for the compiler at hand (tests/kit/aspnetcore.py).

using System;
using System.Collections.Generic;
using System.IO;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;
using System.Threading.Tasks;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;

public static class Program
{
    [DllImport("libc")]
    private static extern void _exit(int status);

    private static string[] words = new string[0];

    public static int Main(string[] args)
    {
        words = args;
        if (Has("--exit")) return int.Parse(After("--exit"));
        if (Has("--no-integration"))
            // What CreateSlimBuilder is without: UseIISIntegration returns at once where one of its variables is missing.
            Environment.SetEnvironmentVariable("ASPNETCORE_TOKEN", null);
        var builder = WebApplication.CreateBuilder(new WebApplicationOptions());
        if (Has("--urls")) builder.WebHost.UseUrls(After("--urls"));
        if (Has("--broken")) throw new InvalidOperationException("the app's own mistake");
        var app = builder.Build();
        var stopping = new ManualResetEventSlim();
        app.Lifetime.ApplicationStopping.Register(() => { Console.WriteLine("the app is stopping"); stopping.Set(); });
        app.Lifetime.ApplicationStopped.Register(() => Console.WriteLine("the app has stopped"));
        ((IApplicationBuilder)app).Use(next => Answer);
        app.StartAsync().GetAwaiter().GetResult();
        stopping.Wait();
        app.StopAsync().GetAwaiter().GetResult();
        return 0;
    }

    private static bool Has(string word) { return Array.IndexOf(words, word) >= 0; }

    private static string After(string word) { return words[Array.IndexOf(words, word) + 1]; }

    private static async Task Answer(HttpContext context)
    {
        var path = context.Request.Path.Value;
        if (path == "/exit") _exit(int.Parse(context.Request.QueryString.Value.Substring(1)));
        if (path == "/failfast") Environment.FailFast("the app's own end");
        if (path == "/sleep")
        {
            Console.WriteLine("a request sleeps");
            await Task.Delay(int.Parse(context.Request.QueryString.Value.Substring(1)));
        }
        if (path == "/throw") throw new InvalidOperationException("the request's own mistake");
        if (path == "/length")
            await Write(context, (await Length(context.Request.Body)).ToString());
        else if (path == "/echo")
            await context.Request.Body.CopyToAsync(context.Response.Body);
        else if (path == "/silent")
            await Task.Delay(-1, context.RequestAborted).ContinueWith(
                done => Console.WriteLine("the visitor has gone"));
        else
        {
            context.Response.ContentType = "application/json";
            await Write(context, Facts(context));
        }
    }

    private static async Task<long> Length(Stream body)
    {
        var buffer = new byte[65536];
        long total = 0;
        int count;
        while ((count = await body.ReadAsync(buffer, 0, buffer.Length)) > 0) total += count;
        return total;
    }

    private static Task Write(HttpContext context, string text)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        return context.Response.Body.WriteAsync(bytes, 0, bytes.Length);
    }

    private static string Facts(HttpContext context)
    {
        var request = context.Request;
        var environment = (IWebHostEnvironment)context.RequestServices.GetService(typeof(IWebHostEnvironment));
        var headers = new List<string>();
        foreach (var field in request.Headers)
            foreach (var value in field.Value) headers.Add(Listed(new List<string> { Quoted(field.Key), Quoted(value) }));
        var arguments = new List<string>();
        foreach (var word in words) arguments.Add(Quoted(word));
        var remote = context.Connection.RemoteIpAddress;
        var certificate = context.Connection.ClientCertificate;
        var upgradable = false;
        foreach (var feature in context.Features)
            upgradable |= feature.Key.Name == "IHttpUpgradeFeature" && feature.Value != null;
        var facts = "{\"pid\":" + Environment.ProcessId.ToString();
        facts += ",\"arguments\":" + Listed(arguments);
        facts += ",\"directory\":" + Quoted(Environment.CurrentDirectory);
        facts += ",\"root\":" + Quoted(environment.ContentRootPath);
        facts += ",\"method\":" + Quoted(request.Method);
        facts += ",\"base\":" + Quoted(request.PathBase.Value);
        facts += ",\"path\":" + Quoted(request.Path.Value);
        facts += ",\"query\":" + Quoted(request.QueryString.Value);
        facts += ",\"scheme\":" + Quoted(request.Scheme);
        facts += ",\"host\":" + Quoted(request.Host.Value);
        facts += ",\"remote\":" + Quoted(remote == null ? null : remote.ToString());
        facts += ",\"headers\":" + Listed(headers);
        facts += ",\"upgradable\":" + (upgradable ? "true" : "false");
        return facts + ",\"certificate\":" + Quoted(certificate == null ? null : certificate.Thumbprint) + "}";
    }

    private static string Listed(List<string> items)
    {
        var listed = "[";
        for (var index = 0; index < items.Count; index++) listed += (index == 0 ? "" : ",") + items[index];
        return listed + "]";
    }

    private static string Quoted(string text)
    {
        if (text == null) return "null";
        var quoted = new StringBuilder("\"");
        foreach (var character in text)
            if (character == '"' || character == '\\' || character < 32) quoted.Append("\\u" + ((int)character).ToString("x4"));
            else quoted.Append(character);
        return quoted.Append('"').ToString();
    }
}
